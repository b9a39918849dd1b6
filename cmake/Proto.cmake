# migrate_proto(TARGET x PROTOS proto/a.proto ... [GRPC] [LIBS other_proto_target ...])
#
# A static library of the C++ code generated from .proto files, named relative to the top of the
# source tree. Their own imports are written the same way (import "proto/ship.proto"), and so are
# the headers (#include "proto/ship.pb.h", with GRPC also "proto/ship.grpc.pb.h"). LIBS: the targets
# of imported files. Generated code does not see our warning flags, and its headers are system ones.
include_guard(GLOBAL)

find_package(PkgConfig REQUIRED)
find_program(MIGRATE_PROTOC protoc REQUIRED)
find_program(MIGRATE_GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
# Through pkg-config, because its targets can be made global whatever the folder that includes this.
pkg_check_modules(MIGRATE_PROTOBUF REQUIRED IMPORTED_TARGET GLOBAL protobuf)
pkg_check_modules(MIGRATE_GRPC REQUIRED IMPORTED_TARGET GLOBAL grpc++)

function(migrate_proto)
  cmake_parse_arguments(P "GRPC" "TARGET" "PROTOS;LIBS" ${ARGN})
  set(sources)
  foreach(proto IN LISTS P_PROTOS)
    string(REGEX REPLACE "\\.proto$" "" stem ${proto})
    set(outputs ${CMAKE_BINARY_DIR}/${stem}.pb.cc ${CMAKE_BINARY_DIR}/${stem}.pb.h)
    set(options --cpp_out=${CMAKE_BINARY_DIR})
    if(P_GRPC)
      list(APPEND outputs ${CMAKE_BINARY_DIR}/${stem}.grpc.pb.cc
           ${CMAKE_BINARY_DIR}/${stem}.grpc.pb.h)
      list(APPEND options --grpc_out=${CMAKE_BINARY_DIR}
           --plugin=protoc-gen-grpc=${MIGRATE_GRPC_CPP_PLUGIN})
    endif()
    add_custom_command(
      OUTPUT ${outputs}
      COMMAND ${MIGRATE_PROTOC} -I ${CMAKE_SOURCE_DIR} ${options} ${CMAKE_SOURCE_DIR}/${proto}
      DEPENDS ${CMAKE_SOURCE_DIR}/${proto}
      COMMENT "Generating C++ from ${proto}" VERBATIM)
    list(APPEND sources ${outputs})
  endforeach()
  add_library(${P_TARGET} STATIC ${sources})
  target_include_directories(${P_TARGET} SYSTEM PUBLIC ${CMAKE_BINARY_DIR})
  target_link_libraries(${P_TARGET} PUBLIC ${P_LIBS} PkgConfig::MIGRATE_PROTOBUF)
  if(P_GRPC)
    target_link_libraries(${P_TARGET} PUBLIC PkgConfig::MIGRATE_GRPC)
  endif()
endfunction()
