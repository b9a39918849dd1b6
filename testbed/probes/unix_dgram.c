/* Unix datagram sockets with names in the filesystem: sendto, recvfrom with the sender's address. */
#include <sys/un.h>

#include "probe.h"

static int server;
static struct sockaddr_un server_name = {AF_UNIX, ""};

static void setup(void) {
  server = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
  snprintf(server_name.sun_path, sizeof server_name.sun_path, "%s", scratch("server"));
  OK(bind(server, (struct sockaddr*)&server_name, sizeof server_name));
}

static void each(unsigned round) {
  struct sockaddr_un mine = {AF_UNIX, ""}, from;
  socklen_t length = sizeof from;
  char text[64], back[64] = "";
  int client = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
  snprintf(mine.sun_path, sizeof mine.sun_path, "%s", scratch("client-%u", round));
  OK(bind(client, (struct sockaddr*)&mine, sizeof mine));
  int n = snprintf(text, sizeof text, "datagram %u", round);
  CHECK_EQ(sendto(client, text, n, 0, (struct sockaddr*)&server_name, sizeof server_name), n);
  CHECK_EQ(sendto(client, "", 0, 0, (struct sockaddr*)&server_name, sizeof server_name), 0);
  CHECK_EQ(recvfrom(server, back, sizeof back, 0, (struct sockaddr*)&from, &length), n);
  CHECK(strcmp(text, back) == 0 && strcmp(from.sun_path, mine.sun_path) == 0);
  CHECK_EQ(recv(server, back, sizeof back, 0), 0);
  CHECK_EQ(sendto(server, "answer", 6, 0, (struct sockaddr*)&from, length), 6);
  OK(connect(client, (struct sockaddr*)&server_name, sizeof server_name));
  CHECK_EQ(recv(client, back, 3, MSG_TRUNC), 6);
  OK(close(client));
  FAILS(sendto(server, "x", 1, 0, (struct sockaddr*)&from, length), ECONNREFUSED);
  OK(unlink(mine.sun_path));
  mix_text(text);
}

static void finish(void) { OK(unlink(server_name.sun_path)); }

PROBE(.setup = setup, .round = each, .finish = finish)
