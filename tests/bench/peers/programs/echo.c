/* A blocking echo of frames of {packet, 4}: a read for what has come, a write for each frame. */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOM (1 << 20)

static char buffer[ROOM];

static void write_all(const char *data, size_t length)
{
    while (length > 0) {
        ssize_t written = write(1, data, length);
        if (written <= 0)
            exit(1);
        data += written;
        length -= (size_t)written;
    }
}

int main(void)
{
    size_t held = 0;
    for (;;) {
        ssize_t got = read(0, buffer + held, ROOM - held);
        if (got <= 0)
            return 0;
        held += (size_t)got;
        size_t begin = 0;
        while (held - begin >= 4) {
            uint32_t length;
            memcpy(&length, buffer + begin, 4);
            size_t frame = 4 + (size_t)ntohl(length);
            if (frame > ROOM)
                return 1;
            if (held - begin < frame)
                break;
            write_all(buffer + begin, frame);
            begin += frame;
        }
        memmove(buffer, buffer + begin, held - begin);
        held -= begin;
    }
}
