# discover_flags: what every C file of the project is compiled and linked with.
add_library(discover_flags INTERFACE)
target_include_directories(discover_flags INTERFACE "${PROJECT_SOURCE_DIR}/csrc")
target_compile_definitions(discover_flags INTERFACE
  _GNU_SOURCE "DSC_VERSION=\"${PROJECT_VERSION}\"" $<$<BOOL:${DISCOVER_TESTING}>:DSC_TESTING=1>)
target_compile_options(discover_flags INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion
  # snprintf is how this code truncates on purpose.
  $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation>
  -Wvla -Wformat=2 -Wundef -Wwrite-strings -Wpointer-arith
  # Nobody puts a function of his own in place of one that libdiscover.so exports.
  -fno-semantic-interposition
  $<$<BOOL:${DISCOVER_WERROR}>:-Werror>)

if(DISCOVER_SANITIZE STREQUAL "address")
  set(discover_sanitize_flags -fsanitize=address,undefined -fno-sanitize-recover=undefined)
elseif(DISCOVER_SANITIZE STREQUAL "thread")
  set(discover_sanitize_flags -fsanitize=thread)
elseif(DISCOVER_SANITIZE)
  message(FATAL_ERROR "DISCOVER_SANITIZE is \"${DISCOVER_SANITIZE}\"; known are: address, thread")
endif()

if(DISCOVER_FUZZ)
  list(APPEND discover_sanitize_flags -fsanitize=fuzzer-no-link)
endif()

if(discover_sanitize_flags)
  target_compile_options(discover_flags INTERFACE ${discover_sanitize_flags} -fno-omit-frame-pointer -O1 -g)
  target_link_options(discover_flags INTERFACE ${discover_sanitize_flags})
endif()
