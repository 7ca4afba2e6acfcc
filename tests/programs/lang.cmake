# The workloads in other languages: each is tested, and compiled if need be, where its tool exists.
set(lang ${CMAKE_CURRENT_SOURCE_DIR}/lang)
set(lang_out ${CMAKE_BINARY_DIR}/tests/programs/lang)
file(MAKE_DIRECTORY ${lang_out})

# torpor_lang(NAME TOOLS tool... COMMAND command...): TOOLS name what COMMAND needs in the PATH.
function(torpor_lang name)
  cmake_parse_arguments(ARG "" "" "TOOLS;COMMAND" ${ARGN})
  foreach(tool ${ARG_TOOLS})
    find_program(TORPOR_TOOL_${tool} ${tool} PATHS /usr/bin NO_DEFAULT_PATH)
    find_program(TORPOR_TOOL_${tool} ${tool})
    if(NOT TORPOR_TOOL_${tool})
      message(STATUS "test programs: no ${tool}, ${name} is left out")
      return()
    endif()
  endforeach()
  torpor_program_test(${name} ${ARG_COMMAND})
endfunction()

# torpor_compiled(NAME TOOL OUTPUT SOURCE COMMAND...): COMMAND makes OUTPUT from SOURCE with TOOL.
function(torpor_compiled name tool output source)
  find_program(TORPOR_TOOL_${tool} ${tool})
  if(TORPOR_TOOL_${tool})
    add_custom_command(OUTPUT ${output} COMMAND ${ARGN} DEPENDS ${source} VERBATIM)
    add_custom_target(program_${name} DEPENDS ${output})
    add_dependencies(programs program_${name})
  endif()
endfunction()

# A Python that has numpy; the system's own first.
foreach(python /usr/bin/python3 python3)
  execute_process(COMMAND ${python} -c "import numpy" RESULT_VARIABLE no_numpy OUTPUT_QUIET ERROR_QUIET)
  if(no_numpy EQUAL 0)
    torpor_program_test(python ${python} ${lang}/workload.py)
    break()
  endif()
endforeach()
if(NOT no_numpy EQUAL 0)
  message(STATUS "test programs: no python3 with numpy, python is left out")
endif()

torpor_compiled(go go ${lang_out}/workload_go ${lang}/workload.go
  ${CMAKE_COMMAND} -E env GOCACHE=${lang_out}/go-cache GO111MODULE=off CGO_ENABLED=0 GOTOOLCHAIN=local
  go build -o ${lang_out}/workload_go ${lang}/workload.go)
torpor_lang(go TOOLS go COMMAND ${lang_out}/workload_go)

torpor_compiled(rust rustc ${lang_out}/workload_rs ${lang}/workload.rs
  rustc --edition 2021 -O -D warnings -o ${lang_out}/workload_rs ${lang}/workload.rs)
torpor_lang(rust TOOLS rustc COMMAND ${lang_out}/workload_rs)

torpor_compiled(java javac ${lang_out}/Workload.class ${lang}/Workload.java
  javac -Xlint:all -Werror -d ${lang_out} ${lang}/Workload.java)
torpor_lang(java TOOLS javac java COMMAND java -Xmx128m -cp ${lang_out} Workload)

torpor_lang(node TOOLS node COMMAND node ${lang}/workload.js)
torpor_lang(perl TOOLS perl COMMAND perl ${lang}/workload.pl)
torpor_lang(sh_dash TOOLS dash COMMAND dash ${lang}/workload.sh)
torpor_lang(sh_bash TOOLS bash COMMAND bash ${lang}/workload.sh)
torpor_lang(mawk TOOLS mawk COMMAND mawk -f ${lang}/workload.awk --)
torpor_lang(gawk TOOLS gawk COMMAND gawk -f ${lang}/workload.awk --)
torpor_lang(pipeline TOOLS bash awk COMMAND ${lang}/pipeline.sh)
torpor_lang(sqlite TOOLS sqlite3 COMMAND ${lang}/sqlite.sh)
torpor_lang(cproject TOOLS make gcc COMMAND ${lang}/cproject.sh)
torpor_lang(compress TOOLS bash xz zstd COMMAND ${lang}/compress.sh)
