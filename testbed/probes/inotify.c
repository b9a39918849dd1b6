/* inotify: the events of a directory and a file; one stays unread from one round to the next. */
#include <sys/inotify.h>
#include <sys/ioctl.h>

#include "probe.h"

static int fd, directory;

static void setup(void) {
  fd = OK(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  directory = OK(inotify_add_watch(fd, probe.dir, IN_CREATE | IN_DELETE | IN_MOVE));
}

static void each(unsigned round) {
  char buffer[4096] __attribute__((aligned(8)));
  int left = 0;
  if (round > 1) OK(ioctl(fd, FIONREAD, &left));
  CHECK_EQ(left > 0, round > 1);
  OK(close(OK(open(scratch("file"), O_WRONLY | O_CREAT, 0644))));
  OK(rename(scratch("file"), scratch("moved")));
  OK(unlink(scratch("moved")));
  ssize_t n = OK(read(fd, buffer, sizeof buffer));
  unsigned masks = 0, events = 0;
  for (char* p = buffer; p < buffer + n;) {
    struct inotify_event* event = (struct inotify_event*)p;
    CHECK_EQ(event->wd, directory);
    masks |= event->mask;
    mix_text(event->name);
    note_number(event->cookie);
    events++;
    p += sizeof *event + event->len;
  }
  CHECK_EQ(masks & ~IN_ISDIR, IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO);
  CHECK_EQ(events, round > 1 ? 5 : 4);
  FAILS(read(fd, buffer, sizeof buffer), EAGAIN);
  int watch = OK(inotify_add_watch(fd, "/proc/self/exe", IN_OPEN));
  OK(inotify_rm_watch(fd, watch));
  n = OK(read(fd, buffer, sizeof buffer));
  CHECK_EQ(((struct inotify_event*)buffer)->mask, IN_IGNORED);
  OK(mkdir(scratch("unread"), 0755)); /* is read in the next round */
  OK(inotify_add_watch(fd, probe.dir, IN_CREATE | IN_MOVE)); /* not its removal */
  OK(rmdir(scratch("unread")));
  OK(inotify_add_watch(fd, probe.dir, IN_CREATE | IN_DELETE | IN_MOVE));
}

PROBE(.setup = setup, .round = each)
