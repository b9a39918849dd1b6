/* A listening unix socket with an abstract name; a connection is open over the rounds. */
#include <stddef.h>
#include <sys/un.h>

#include "probe.h"

static int listener, client, server;
static struct sockaddr_un name = {AF_UNIX, ""};
static socklen_t name_length;

static int connected(void) {
  int fd = OK(socket(AF_UNIX, SOCK_STREAM, 0));
  OK(connect(fd, (struct sockaddr*)&name, name_length));
  return fd;
}

static void setup(void) {
  name_length = offsetof(struct sockaddr_un, sun_path) + 1 +
                snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "%s", unique_name("a"));
  listener = OK(socket(AF_UNIX, SOCK_STREAM, 0));
  OK(bind(listener, (struct sockaddr*)&name, name_length));
  OK(listen(listener, 4));
  client = connected();
  server = OK(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
}

static void each(unsigned round) {
  struct sockaddr_un peer;
  socklen_t length = sizeof peer;
  char back[32] = "";
  OK(getpeername(client, (struct sockaddr*)&peer, &length));
  CHECK_EQ(length, name_length);
  CHECK(memcmp(&peer, &name, length) == 0);
  length = sizeof peer;
  OK(getpeername(server, (struct sockaddr*)&peer, &length));
  CHECK_EQ(length, sizeof(sa_family_t)); /* the client has no name */
  write_all(client, &round, sizeof round);
  read_all(server, back, sizeof round);
  int fd = connected(), accepted = OK(accept(listener, NULL, NULL));
  write_all(accepted, "hello", 5);
  OK(close(accepted));
  read_all(fd, back, 5);
  CHECK_EQ(read(fd, back + 5, 1), 0);
  OK(close(fd));
  fd = OK(socket(AF_UNIX, SOCK_STREAM, 0));
  FAILS(bind(fd, (struct sockaddr*)&name, name_length), EADDRINUSE);
  OK(close(fd));
  mix_text(back);
}

PROBE(.setup = setup, .round = each)
