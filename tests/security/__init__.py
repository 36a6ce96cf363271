"""What a frame must not reach: modules, files, processes, sockets, keys."""
