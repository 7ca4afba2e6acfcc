# Perl: hashes, regular expressions, sorting, packed strings; one checksum per step.
use strict;
use warnings;

$| = 1;
my %option = ('--seconds' => 3, @ARGV);
my $steps = int($option{'--seconds'} * 10) + 1;
my ($state, $rolling) = (88172645, 0);

sub draw { return $state = ($state * 1103515245 + 12345) % 2147483648 }

sub step {
  my ($step) = @_;
  my %count;
  my $text = join ' ', map { 'w' . draw() % 3000 } 1 .. 150000;
  $count{$1}++ while $text =~ /\bw(\d+)\b/g;
  my $words = 0;
  $words += $_ for values %count;
  if ($words != 150000) { print STDERR "FAIL expected 150000 words, saw $words\n"; exit 1 }
  for my $key (sort { $count{$b} <=> $count{$a} || $a <=> $b } keys %count) {
    $rolling = ($rolling * 31 + $key * 7 + $count{$key}) % 4294967291;
  }
  my @numbers = unpack 'N*', pack 'N*', map { draw() } 1 .. 50000;
  $rolling = ($rolling * 131 + unpack('%32C*', join ',', sort { $a <=> $b } @numbers)) % 4294967291;
  print "step $step: $rolling\n";
}

print "ready\n";
step($_) for 0 .. $steps - 1;
print "ok\n";
