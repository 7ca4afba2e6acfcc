"""What torpor does not do right yet, by test: such a test is skipped and says why. Remove the line
when it works. TORPOR_TEST_GAPS=1 runs them all the same."""

KNOWN_GAPS = {
    "continue.socketpairs": "a pipe end that exists only in flight in a socket's queue is taken for "
                            "one outside, and refused",
    "features.socketpairs": "a pipe end that exists only in flight in a socket's queue is taken for "
                            "one outside, and refused",
    "continue.process_tree": "a relative that runs a moment longer or sooner can see a stopped child "
                             "in state t instead of T",
    "features.process_tree": "a relative that runs a moment longer or sooner can see a stopped child "
                             "in state t instead of T",
    "continue.itimers": "the test program itself sometimes fails (timer_create gives EINVAL)",
    "features.itimers": "the test program itself sometimes fails (timer_create gives EINVAL)",
    "features.proclist": "inode numbers of anonymous files (epoll, pipes) are new after a restart",
}
