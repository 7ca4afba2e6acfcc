# Tests that have not been seen to pass reliably yet. They are not run by `./dev test`; ctest lists
# them as disabled, and this prints them with the reason when the build is configured. Remove a line
set(known_gaps
  "e2e.launch|fails on a loaded machine, cause not yet known"
  "e2e.supervision|work on programs without a terminal is not finished"
  "e2e.gdb_core|not yet seen to pass"
  "fault.checkpoint_steps|not yet seen to pass for every step"
  "fault.restart_steps|not yet seen to pass for every step"
  "fault.disk_full|not yet seen to pass"
  "fault.damaged_image|not yet seen to pass")
foreach(gap ${known_gaps})
  string(REPLACE "|" ";" gap "${gap}")
  list(GET gap 0 name)
  list(GET gap 1 reason)
  if(TEST ${name})
    set_tests_properties(${name} PROPERTIES DISABLED TRUE)
    message(NOTICE "not run: ${name}: ${reason}")
  endif()
endforeach()
