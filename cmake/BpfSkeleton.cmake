# bpf_skeleton(NAME x SOURCE x.bpf.c DEPENDS headers): compiles a CO-RE BPF program and makes
# ${CMAKE_BINARY_DIR}/bpf/x.skel.h, which carries it; target x_skeleton.
find_program(CLANG NAMES clang clang-19 clang-16 clang-15 clang-14 REQUIRED)
find_program(BPFTOOL bpftool PATHS /usr/sbin /sbin REQUIRED)

function(bpf_skeleton)
  cmake_parse_arguments(B "" "NAME;SOURCE" "DEPENDS" ${ARGN})
  set(directory ${CMAKE_BINARY_DIR}/bpf)
  file(MAKE_DIRECTORY ${directory})
  set(skeleton ${directory}/${B_NAME}.skel.h)
  add_custom_command(
    OUTPUT ${skeleton}
    # bpftool links the one object only to drop its DWARF, which would be carried around.
    COMMAND ${CLANG} -O2 -g -target bpf -D__TARGET_ARCH_x86 -I${CMAKE_SOURCE_DIR} -Wall -Werror
            -c ${CMAKE_CURRENT_SOURCE_DIR}/${B_SOURCE} -o ${directory}/${B_NAME}.debug.o
    COMMAND ${BPFTOOL} gen object ${directory}/${B_NAME}.bpf.o ${directory}/${B_NAME}.debug.o
    COMMAND ${BPFTOOL} gen skeleton ${directory}/${B_NAME}.bpf.o name ${B_NAME}_bpf > ${skeleton}.new
    COMMAND ${CMAKE_COMMAND} -E rename ${skeleton}.new ${skeleton}
    DEPENDS ${B_SOURCE} ${B_DEPENDS}
    COMMENT "Building BPF program ${B_NAME}"
    VERBATIM)
  add_custom_target(${B_NAME}_skeleton DEPENDS ${skeleton})
endfunction()
