# discover_shared: libdiscover.so, and what is installed for C hosts: both libraries, headers, pkg-config, CMake package.
#
# Exactly the functions of the installed headers are exported: everything is compiled hidden, those headers say otherwise.
if(DISCOVER_LIBRARY MATCHES "\\.a$" AND DISCOVER_SHARED_CORE)
  message(FATAL_ERROR "DISCOVER_SHARED_CORE wants a libdiscover.so, DISCOVER_LIBRARY is ${DISCOVER_LIBRARY}")
endif()
if(DISCOVER_LIBRARY OR NOT TARGET discover)
  return()
endif()
if(NOT DISCOVER_C_LIBRARY AND NOT DISCOVER_SHARED_CORE)
  return()
endif()

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
include(DiscoverHeaders)

add_library(discover_shared SHARED ${objects})
set_target_properties(discover_shared PROPERTIES
  OUTPUT_NAME discover EXPORT_NAME discover LINKER_LANGUAGE C
  VERSION ${PROJECT_VERSION}
  # Before 1.0 a minor version may change what hosts see.
  SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
target_include_directories(discover_shared INTERFACE
  "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/csrc>" "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
target_link_libraries(discover_shared PRIVATE discover_flags Threads::Threads m ${discover_needs})
# nodelete: a thread of ours may still run when a host closes the last plugin that uses it.
target_link_options(discover_shared PRIVATE
  "LINKER:-z,nodelete" "LINKER:-z,now" "LINKER:-z,relro" "LINKER:--as-needed")
if(NOT DISCOVER_SANITIZE)
  target_link_options(discover_shared PRIVATE "LINKER:-z,defs")
endif()

if(NOT DISCOVER_C_LIBRARY)
  install(TARGETS discover_shared LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" NAMELINK_SKIP)
  return()
endif()

# Whoever links the static library links these.
set(discover_private_names "")
foreach(package UV HIREDIS CURL CARES OPENSSL SODIUM)
  list(APPEND discover_private_names ${${package}_LIBRARIES})
endforeach()
list(REMOVE_DUPLICATES discover_private_names)
list(REMOVE_ITEM discover_private_names pthread dl rt)
list(TRANSFORM discover_private_names PREPEND "-l" OUTPUT_VARIABLE discover_private_flags)
list(JOIN discover_private_flags " " DISCOVER_PRIVATE_FLAGS)
string(APPEND DISCOVER_PRIVATE_FLAGS " -lm -pthread")

set_target_properties(discover PROPERTIES EXPORT_NAME static)
target_include_directories(discover INTERFACE "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
target_link_libraries(discover INTERFACE "$<INSTALL_INTERFACE:${discover_private_names}>")

install(TARGETS discover_shared discover EXPORT discoverTargets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")

discover_public_headers(discover_headers)
install(FILES "${PROJECT_SOURCE_DIR}/include/discover.h" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
foreach(header IN LISTS discover_headers)
  get_filename_component(room "${header}" DIRECTORY)
  install(FILES "${PROJECT_BINARY_DIR}/include/discover/${header}"
    DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/discover/${room}")
endforeach()

set(discover_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/discover")
install(EXPORT discoverTargets NAMESPACE discover:: DESTINATION "${discover_package_dir}")
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/discoverConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/discoverConfig.cmake" INSTALL_DESTINATION "${discover_package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/discoverConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/discoverConfig.cmake" "${PROJECT_BINARY_DIR}/discoverConfigVersion.cmake"
  DESTINATION "${discover_package_dir}")

# Found from where it stands, so that an installed tree may be moved.
file(RELATIVE_PATH DISCOVER_PC_UP "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" DISCOVER_PC_UP "${DISCOVER_PC_UP}")
configure_file("${PROJECT_SOURCE_DIR}/cmake/discover.pc.in" "${PROJECT_BINARY_DIR}/discover.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/discover.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
