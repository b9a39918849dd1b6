# The bulk transport between two daemons: chunk_*, grpc_settings, grpc_status.
pkg_check_modules(MIGRATE_ZSTD REQUIRED IMPORTED_TARGET GLOBAL libzstd)
pkg_check_modules(MIGRATE_XXHASH REQUIRED IMPORTED_TARGET GLOBAL libxxhash)

add_library(migrate_chunk_stream STATIC
  chunk_codec.cc chunk_rate.cc chunk_receiver.cc chunk_receiver_call.cc chunk_receiver_stream.cc
  chunk_sender.cc chunk_sender_call.cc chunk_sender_worker.cc grpc_settings.cc grpc_status.cc)
target_link_libraries(migrate_chunk_stream
  PUBLIC migrate_base migrate_ship_proto
  PRIVATE PkgConfig::MIGRATE_ZSTD PkgConfig::MIGRATE_XXHASH)

migrate_test(NAME chunk_codec_test SOURCES chunk_codec_test.cc LIBS migrate_chunk_stream)
migrate_test(NAME chunk_stream_test SOURCES chunk_stream_test.cc chunk_test_util.cc
             LIBS migrate_chunk_stream)
migrate_test(NAME chunk_fault_test SOURCES chunk_fault_test.cc chunk_test_util.cc
             LIBS migrate_chunk_stream)
migrate_test(NAME chunk_protocol_test SOURCES chunk_protocol_test.cc chunk_test_util.cc
             LIBS migrate_chunk_stream)
