# File trees: sender and receiver of directory trees in rounds (file_tree.h).
include(${CMAKE_SOURCE_DIR}/cmake/Proto.cmake)
migrate_proto(TARGET migrate_file_tree_proto PROTOS proto/file_tree.proto)

pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
add_library(migrate_file_tree STATIC
            file_tree_attributes.cc file_tree_blocks.cc file_tree_content.cc
            file_tree_content_writer.cc file_tree_frame.cc file_tree_path.cc
            file_tree_receiver.cc file_tree_sender.cc file_tree_follow.cc file_tree_target.cc)
target_link_libraries(migrate_file_tree PUBLIC migrate_base migrate_file_tree_proto migrate_options
                      PkgConfig::XXHASH)

# Trees of one's own files; the rest needs root (chown, mknod, trusted xattrs, mounts).
migrate_test(NAME file_tree_test
             SOURCES file_tree_path_test.cc file_tree_frame_test.cc file_tree_stream_test.cc
                     file_tree_delta_test.cc file_tree_follow_test.cc file_tree_test_util.cc
             LIBS migrate_file_tree)
migrate_test(NAME file_tree_root_test
             SOURCES file_tree_random_test.cc file_tree_special_test.cc file_tree_test_util.cc
             LIBS migrate_file_tree LABELS root)
