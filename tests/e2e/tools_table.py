#!/usr/bin/python3
"""Tools that work with the ids of their children: saved and ended at work in a plain container, brought
back with the pid table, and then asked to go on."""

# ctest-for-each: bash dash script tmux make parallel prefork setuid

import os
import pathlib
import signal
import sys

import torpor_testing
from torpor_testing import TorporTest, descendants, wait_until


class Tool(TorporTest):
    environment_letter = "c"

    def around(self) -> list[str]:
        return self.environment_command(self.environment_letter)

    def launch_command(self, *words) -> list[str]:
        return self.user_command(*self.around(), self.torpor_path, "launch", "--mode", "wrapped",
                                 "--name", "it", "--", *words)

    def restart_command(self) -> list[str]:
        return self.user_command(*self.around(), self.torpor_path, "restart", "it", "--identity",
                                 "table")

    def save(self, process, terminal=None) -> None:
        """Checkpoints and ends it; afterwards no process has an id of before."""
        self.before = set(descendants(self.computation("it")["pid"]))
        self.torpor_ok("checkpoint", "--kill", "it")
        self.assertEqual(self.wait(process, terminal), 128 + signal.SIGKILL)

    def assert_other_ids(self) -> None:
        now = set(descendants(self.computation("it")["pid"]))
        self.assertEqual(now & self.before, set())

    def place(self, name: str) -> pathlib.Path:
        return self.directory / "tmp" / name

    def script(self, name: str, text: str) -> pathlib.Path:
        path = self.place(name)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        return path

    # --- without a terminal: the program waits for a file when it is to be saved

    def cycle(self, *command) -> str:
        """Its output of both lives. It makes `ready`, and goes on when there is `go`."""
        self.place("out").touch()
        self.place("out").chmod(0o666)
        with open(self.place("out"), "ab") as out:
            process = self.start(self.launch_command(*command), stdout=out, stderr=out)
            wait_until(lambda: self.place("ready").exists() or process.poll() is not None, "it is ready")
            self.save(process)
        process = self.start(self.restart_command(), text=True)
        wait_until(lambda: process.poll() is not None or self.torpor_json("ps"), "it is there")
        self.assertIsNone(process.poll(), process.poll() is not None and process.stderr.read())
        self.assert_other_ids()
        self.place("go").touch()
        _, words = process.communicate(timeout=60)
        text = self.place("out").read_text(encoding="utf-8")
        self.assertEqual(process.returncode, 0, text + words)
        return text


def foreground_group(pid: int) -> int:
    """Of its terminal."""
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    return int(stat[stat.rindex(")") + 2:].split()[5])


class AtShell(Tool):
    """An interactive shell with job control."""
    prompt = "READY> "

    def sit_down(self, *shell) -> None:
        self.screen = self.terminal()
        environment = dict(self.environment, PS1=self.prompt, TERM="dumb")
        self.process = self.start_at(self.screen, self.launch_command(*shell), env=environment)
        self.screen.expect(self.prompt)

    def cycle_at_prompt(self) -> None:
        self.save(self.process, self.screen)
        self.screen = self.terminal()
        self.process = self.start_at(self.screen, self.restart_command())
        wait_until(self.screen.is_raw, "raw")
        self.assert_other_ids()

    def run_line(self, line: str) -> str:
        """What is shown from the line's echo to the next prompt."""
        self.screen.type(line + "\r")
        self.screen.expect(line)
        return self.screen.expect(self.prompt).decode()

    def bring_to_foreground(self, job: str, command: str) -> None:
        """Until it has the terminal: the shell says so before."""
        shell = self.computation("it")["pid"]
        self.screen.type(f"fg {job}\r")
        self.screen.expect(command + "\r\n")
        wait_until(lambda: foreground_group(shell) != os.getpgid(shell), "the job has the terminal")

    def leave(self, status: int) -> None:
        self.screen.type(f"exit {status}\r")
        self.assertEqual(self.wait(self.process, self.screen), status)


class Bash(AtShell):
    def test_jobs_after_a_restart(self):
        self.sit_down("bash", "--norc", "--noprofile", "-i")
        for line in ("sleep 1000 &", "sleep 1001 &", "(until test -e go; do sleep 0.05; done; : < /dev/tty && : > tty) &",
                     "first=$!; own=$$"):
            self.run_line(line)
        self.cycle_at_prompt()
        listed = self.run_line("jobs")
        self.assertEqual(listed.count("Running"), 3, listed)
        self.assertIn("143", self.run_line("kill %1; wait %1; echo $?"))
        self.assertIn("same", self.run_line("test $$ = $own && kill -0 $first && echo same"))
        self.run_line(": > go; wait %3; echo 0")
        self.assertIn("had it", self.run_line("test -e tty && echo had it"))
        self.assertIn("all three", self.run_line("sh -c 'test -t 0 -a -t 1 -a -t 2 && echo all three'"))
        self.run_line("trap 'echo child has ended' CHLD")
        self.assertIn("child has ended", self.run_line("/bin/true; echo"))
        self.run_line("trap - CHLD")
        self.assertIn("got 7", self.run_line("(exit 7) & wait -n; echo got $?"))
        self.in_foreground()
        self.leave(5)

    def in_foreground(self) -> None:
        self.bring_to_foreground("%2", "sleep 1001")
        self.screen.type("\x1a")
        self.assertIn("Stopped", self.screen.expect(self.prompt).decode())
        self.assertIn("Stopped", self.run_line("jobs"))
        self.run_line("bg %2")
        self.assertIn("Running", self.run_line("jobs"))
        self.bring_to_foreground("%2", "sleep 1001")
        self.screen.type("\x03")
        self.screen.expect(self.prompt)
        self.assertIn("status 130", self.run_line("echo status $?"))

    def test_job_in_the_foreground(self):
        self.sit_down("bash", "--norc", "--noprofile", "-i")
        self.screen.type("sleep 1000\r")
        shell = self.computation("it")["pid"]
        wait_until(lambda: foreground_group(shell) != os.getpgid(shell), "the child")
        self.cycle_at_prompt()
        self.screen.type("\x1a")
        self.assertIn("Stopped", self.screen.expect(self.prompt).decode())
        self.run_line("bg")
        self.assertIn("Running", self.run_line("jobs"))
        self.assertIn("143", self.run_line("kill %1; wait %1; echo $?"))
        self.leave(0)

    def test_stopped_job(self):
        self.sit_down("bash", "--norc", "--noprofile", "-i")
        self.run_line("sleep 1001 &")
        self.bring_to_foreground("%1", "sleep 1001")
        self.screen.type("\x1a")
        self.screen.expect(self.prompt)
        self.cycle_at_prompt()
        self.assertIn("Stopped", self.run_line("jobs"))
        self.run_line("bg %1")
        self.assertIn("Running", self.run_line("jobs"))
        self.assertIn("143", self.run_line("kill %1; wait %1; echo $?"))
        self.leave(0)


class Dash(AtShell):
    def test_jobs_after_a_restart(self):
        self.sit_down("dash", "-i")
        self.run_line("sleep 1000 &")
        self.run_line("sleep 1001 &")
        self.cycle_at_prompt()
        self.assertEqual(self.run_line("jobs").count("Running"), 2)
        self.assertIn("143", self.run_line("kill %1; wait %1; echo $?"))
        self.bring_to_foreground("%2", "sleep 1001")
        self.screen.type("\x1a")
        self.assertIn("Stopped", self.screen.expect(self.prompt).decode())
        self.run_line("bg %2")
        self.assertIn("143", self.run_line("kill %2; wait %2; echo $?"))
        self.assertIn("got 7", self.run_line("(exit 7) & wait $!; echo got $?"))
        self.leave(6)


class Script(AtShell):
    """A shell at a terminal that script(1) made for it."""

    def test_shell_on_a_terminal_of_the_program(self):
        shell = f"PS1='{self.prompt}' bash --norc --noprofile -i"
        self.sit_down("script", "--quiet", "--return", "--command", shell,
                      str(self.place("typescript")))
        for line in ("stty rows 31 columns 97", "sleep 1000 &", "modes=$(stty -g)"):
            self.run_line(line)
        self.cycle_at_prompt()
        self.assertIn("same", self.run_line('test "$(stty -g)" = "$modes" && echo same'))
        self.assertIn("31 97", self.run_line("stty size"))
        self.assertIn("143", self.run_line("kill %1; wait %1; echo $?"))
        self.assertIn("terminal", self.run_line("sh -c 'test -t 0 && (echo terminal > /dev/tty)'"))
        self.screen.type("cat\r")
        self.screen.expect("cat\r\n")
        self.screen.type("typed\r")
        self.screen.expect("typed\r\ntyped\r\n")
        self.screen.type("\x03")
        self.screen.expect(self.prompt)
        self.assertIn("status 130", self.run_line("echo status $?"))
        self.leave(5)


class Tmux(AtShell):
    """A server with a socket of its own, two shells at terminals that it made, and a client here."""

    def sit_down_at_tmux(self) -> None:
        shell = self.script("shell", f"PS1='{self.prompt}' exec bash --norc --noprofile -i\n")
        self.screen = self.terminal()
        environment = dict(self.environment, TERM="xterm", TMUX_TMPDIR=str(self.place("")))
        self.process = self.start_at(
            self.screen, self.launch_command("tmux", "-f", "/dev/null", "new-session", f"sh {shell}"),
            env=environment)
        self.screen.expect(self.prompt.strip())  # tmux moves the cursor over a space
        self.shell = shell

    def told(self, command: str) -> str:
        """What a command says that is typed; the screen shows it with much around it."""
        self.count = getattr(self, "count", 0) + 1
        path = self.place(f"told{self.count}")
        self.screen.type(f"{{ {command}; }} > {path}.new 2>&1; mv {path}.new {path}\r")
        wait_until(path.exists, command)
        return path.read_text(encoding="utf-8").strip()

    def other_shell_says(self) -> str:
        path = self.place("other")
        path.unlink(missing_ok=True)
        self.told(f"tmux send-keys -t other 'test -t 0 && echo $$ > {path}.new; mv {path}.new {path}' Enter")
        wait_until(path.exists, "the other shell")
        return path.read_text(encoding="utf-8")

    def test_shells_after_a_restart(self):
        self.sit_down_at_tmux()
        self.told(f"tmux new-window -d -n other 'sh {self.shell}'")
        self.told("sleep 1000 & :")
        panes = "tmux list-panes -a -F '#{pane_pid} #{pane_tty} #{pane_width}x#{pane_height}'"
        before = self.told(panes), self.told("echo $$"), self.other_shell_says()
        self.cycle_at_prompt()
        self.assertEqual((self.told(panes), self.told("echo $$"), self.other_shell_says()), before)
        # The old one, unless somebody has it meanwhile.
        self.assertRegex(self.told("tty"), "^/dev/pts/[0-9]+$")
        self.assertIn("143", self.told("kill %1; wait %1; echo $?"))
        self.told(f"tmux new-window -d 'echo fresh > {self.place('fresh')}'")
        wait_until(self.place("fresh").exists, "a new window")
        self.told("tmux kill-window -t other")
        self.assertEqual(self.told("tmux list-windows | wc -l"), "1")
        self.leave(0)


class Make(Tool):
    # Four at a time: the first four wait, so the others begin in the second life.
    TEXT = """all: $(foreach i,1 2 3 4 5 6 7 8,step$i)
\tcat step1 step5 step8
step%:
\ttouch ready$*; until test -e go; do sleep 0.05; done
\techo $* > $@
"""

    def test_parallel_recipes(self):
        self.script("Makefile", self.TEXT)
        self.script("run", 'cd "${0%/*}"\nmake -j4 & make=$!\n'
                    "until test -e ready1 -a -e ready2 -a -e ready3 -a -e ready4; do sleep 0.05; done\n"
                    "test -e ready5 || touch ready\nwait $make\n")
        text = self.cycle("sh", self.place("run"))
        self.assertEqual(text.split()[-3:], ["1", "5", "8"])


class Parallel(Tool):
    def test_jobs_of_parallel(self):
        self.script("step", 'cd "${0%/*}"\ntouch ready$1; until test -e go; do sleep 0.05; done\n'
                    "echo step $1; exit $(($1 % 3))\n")
        self.script("run", 'cd "${0%/*}"\nparallel --will-cite -k -j3 ./step ::: 1 2 3 4 5 6 7 8 9 '
                    "< /dev/null & parallel=$!\n"
                    "until test -e ready1 -a -e ready2 -a -e ready3; do sleep 0.05; done\n"
                    "test -e ready4 || touch ready\nwait $parallel; echo failed $?\n")
        text = self.cycle("sh", self.place("run"))
        self.assertEqual(text.split("\n")[:-1], [f"step {i}" for i in range(1, 10)] + ["failed 6"])


class Prefork(Tool):
    # One listening socket for all; whoever is free takes the next connection.
    TEXT = """import os, signal, socket, sys, time

path = os.path.abspath(sys.argv[0]) + ".socket"
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(8)
workers = set()

def work():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    while True:
        connection, _ = listener.accept()
        request = connection.recv(100)
        connection.send(b"%d %d %s" % (os.getpid(), os.getppid(), request))
        connection.close()

def start():
    pid = os.fork()
    if pid == 0:
        work()
    workers.add(pid)

def reload(*_):
    for pid in sorted(workers):
        os.kill(pid, signal.SIGTERM)
    while workers:
        pid, status = os.wait()
        assert pid in workers and status == 0, (pid, status, workers)
        workers.discard(pid)
    for _ in range(4):
        start()

def ask(count):
    for i in range(count):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        connection.send(b"request %d" % i)
        pid, parent, *words = connection.recv(100).split()
        connection.close()
        assert int(pid) in workers and int(parent) == os.getpid(), (pid, parent, workers)
        assert words == [b"request", b"%d" % i], words

signal.signal(signal.SIGHUP, reload)
for _ in range(4):
    start()
ask(20)
os.chdir(os.path.dirname(sys.argv[0]))
open("ready", "w").close()
before = set(workers)
while not os.path.exists("go"):
    time.sleep(0.02)
ask(20)
assert workers == before
os.kill(sorted(workers)[0], signal.SIGKILL)
assert os.wait() == (sorted(workers)[0], signal.SIGKILL)
workers.discard(sorted(workers)[0])
os.kill(os.getpid(), signal.SIGHUP)
assert len(workers) == 4 and not workers & before
ask(20)
for pid in workers:
    os.kill(pid, signal.SIGTERM)
    assert os.waitpid(pid, 0) == (pid, 0)
print("served", flush=True)
"""

    def test_prefork_server(self):
        self.assertEqual(self.cycle("/usr/bin/python3", self.script("server.py", self.TEXT)), "served\n")


class Setuid(Tool):
    """The C library changes the user of all threads by a signal to each, with ids that it remembers."""
    environment_letter = "b"  # where there are capabilities
    TEXT = """import ctypes, os, sys, threading, time

library = ctypes.CDLL(None, use_errno=True)
os.chdir(os.path.dirname(sys.argv[0]))
root = os.geteuid() == 0
done = threading.Event()

def users():
    found = set()
    for tid in os.listdir("/proc/self/task"):
        for line in open(f"/proc/self/task/{tid}/status"):
            if line.startswith(("Uid", "Gid")):
                found.add(tuple(line.split()))
    return found

def check(uid, gid):
    expected = {("Uid:", *[str(uid)] * 4), ("Gid:", *[str(gid)] * 4)}
    assert users() == expected, (users(), expected)

uid, gid = os.getuid(), os.getgid()
threads = [threading.Thread(target=done.wait) for _ in range(10)]
for thread in threads:
    thread.start()
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.02)
assert len(os.listdir("/proc/self/task")) == 11
assert library.setgid(gid) == 0 and library.setuid(uid) == 0
check(uid, gid)
if root:
    assert library.setresgid(3000, 3000, 3000) == 0
    more = [threading.Thread(target=done.wait) for _ in range(5)]
    for thread in more:
        thread.start()
    assert library.setuid(2000) == 0
    check(2000, 3000)
    assert library.setuid(0) == -1
    threads += more
done.set()
for thread in threads:
    thread.join()
print("all", flush=True)
"""

    def test_threads_of_another_user(self):
        self.assertEqual(self.cycle("/usr/bin/python3", self.script("user.py", self.TEXT)), "all\n")


TOOLS = {"bash": Bash, "dash": Dash, "script": Script, "tmux": Tmux, "make": Make, "parallel": Parallel, "prefork": Prefork,
         "setuid": Setuid}
WITH_ROOT = ("setuid",)  # the others would go the same way


def main() -> None:
    names = sys.argv[1:] or list(TOOLS)
    module = sys.modules[__name__]
    for name in names:
        torpor_testing.for_each_user(TOOLS[name])
        if name not in WITH_ROOT and hasattr(module, TOOLS[name].__name__ + "AsRoot"):
            delattr(module, TOOLS[name].__name__ + "AsRoot")
    for case in (Tool, AtShell, *TOOLS.values()):
        delattr(module, case.__name__)
    del sys.argv[1:]
    torpor_testing.main()


if __name__ == "__main__":
    main()
