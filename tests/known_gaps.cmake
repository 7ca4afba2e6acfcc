# Tests that have not been seen to pass reliably yet. They are not run by `./dev test`; ctest lists
# them as disabled, and this prints them with the reason when the build is configured. Remove a line
# when its test passes; run one all the same with the script itself, e.g. tests/e2e/cycle.py java.
set(known_gaps
  "e2e.continue.dead_leader|a process whose main thread has exited cannot be checkpointed yet"
  "e2e.continue.itimers|the test program itself sometimes fails: timer_create gives EINVAL"
  "e2e.features.itimers|the test program itself sometimes fails: timer_create gives EINVAL"
  "e2e.cycle.java|some restarts failed with 'was killed', not yet seen to pass since that was mended"
  "e2e.cycle.sh_dash|some restarts failed with 'was killed', not yet seen to pass since that was mended"
  "e2e.cycle.rust|some restarts failed with 'was killed', not yet seen to pass since that was mended"
  "e2e.cycle.compress|too slow on a loaded machine, not yet seen to pass"
  "e2e.demo|some restarts failed, not yet seen to pass since that was mended"
  "e2e.features.epolls|consumed edge-triggered events are reported once more after a restart"
  "e2e.features.inflight_vfork|some restarts failed, not yet seen to pass since that was mended"
  "e2e.features.blocked_calls|some restarts failed, not yet seen to pass since that was mended"
  "e2e.features.timerfds|absolute timers drift by the time that the restart takes"
  "programs.proclist|fails now and then without torpor")
foreach(gap ${known_gaps})
  string(REPLACE "|" ";" gap "${gap}")
  list(GET gap 0 name)
  list(GET gap 1 reason)
  if(TEST ${name})
    set_tests_properties(${name} PROPERTIES DISABLED TRUE)
    message(NOTICE "not run: ${name}: ${reason}")
  endif()
endforeach()
