// The bulk transport between two daemons: ByteSink and ByteSource over gRPC, cut in checksummed
// and compressed chunks, with a bounded window, resumed when the connection breaks.
//
//   source:  ChunkSender sender(channel, key, options);  sender.Write(...);  sender.Finish();
//   target:  ShipService service;  ...  service.ExpectStreams(id);
//            auto stream = TRY(service.Accept(key));  stream->Read(...) until 0
#pragma once

#include "migrated/ship/chunk_receiver.h"
#include "migrated/ship/chunk_sender.h"
