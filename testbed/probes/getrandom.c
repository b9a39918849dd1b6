/* getrandom, getentropy, /dev/urandom: bytes that no other run has, small, large, odd. */
#include <sys/random.h>

#include "probe.h"

static int device;
static unsigned char large[1 << 20];

static void setup(void) { device = OK(open("/dev/urandom", O_RDONLY | O_CLOEXEC)); }

static void each(unsigned round) {
  unsigned char a[32], b[32], odd[13];
  CHECK_EQ(getrandom(a, sizeof a, 0), sizeof a);
  CHECK_EQ(getrandom(b, sizeof b, GRND_NONBLOCK), sizeof b);
  CHECK(memcmp(a, b, sizeof a) != 0);
  note(a, sizeof a);
  note(b, sizeof b);
  CHECK_EQ(getrandom(odd, sizeof odd, GRND_RANDOM), sizeof odd);
  note(odd, sizeof odd);
  OK(getentropy(a, sizeof a));
  note(a, sizeof a);
  read_all(device, b, sizeof b);
  note(b, sizeof b);
  size_t got = 0;
  while (got < sizeof large) got += OK(getrandom(large + got, sizeof large - got, 0));
  note(large, sizeof large);
  FAILS(getrandom(a, sizeof a, 0x100), EINVAL);
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
