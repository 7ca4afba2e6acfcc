# Sourced by the shell workloads: --seconds (whole) and --megabytes into $seconds and $megabytes, the
# C locale, and fail().
LC_ALL=C
export LC_ALL
seconds=3 megabytes=
while [ $# -ge 2 ]; do
  case $1 in
    --seconds) seconds=$2 ;;
    --megabytes) megabytes=$2 ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
  esac
  shift 2
done

fail() {
  echo "FAIL $*" >&2
  exit 1
}
