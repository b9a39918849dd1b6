/* mprotect and faults: read-only, none, executable code that is written at run time, in rounds. */
#include <setjmp.h>

#include "probe.h"

static char* pages;
static sigjmp_buf back;
static volatile sig_atomic_t faults;

static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)context;
  CHECK_EQ(signal, SIGSEGV);
  CHECK((char*)info->si_addr >= pages && (char*)info->si_addr < pages + 3 * 4096);
  faults++;
  siglongjmp(back, 1);
}

static bool faults_at(volatile char* address, bool write) {
  if (sigsetjmp(back, 1)) return true;
  if (write)
    *address = 1;
  else
    (void)*address;
  return false;
}

static void setup(void) {
  pages = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(pages != MAP_FAILED);
  set_handler(SIGSEGV, on_fault, 0);
}

static void each(unsigned round) {
  unsigned char code[6] = {0xb8, (unsigned char)round, 0, 0, 0, 0xc3}; /* mov eax, round; ret */
  OK(mprotect(pages + 4096, 4096, PROT_READ));
  CHECK(!faults_at(pages, true) && !faults_at(pages + 4096, false));
  CHECK(faults_at(pages + 4096, true));
  OK(mprotect(pages + 4096, 4096, PROT_NONE));
  CHECK(faults_at(pages + 4096, false));
  OK(mprotect(pages, 3 * 4096, PROT_READ | PROT_WRITE));
  CHECK(!faults_at(pages + 4096, true));
  memcpy(pages + 2 * 4096, code, sizeof code);
  OK(mprotect(pages + 2 * 4096, 4096, PROT_READ | PROT_EXEC));
  int (*function)(void) = (int (*)(void))(void*)(pages + 2 * 4096);
  CHECK_EQ(function(), (unsigned char)round);
  CHECK(faults_at(pages + 2 * 4096, true));
  OK(mprotect(pages + 2 * 4096, 4096, PROT_READ | PROT_WRITE));
  CHECK_EQ(faults, 3 * round);
  FAILS(mprotect(pages + 1, 4096, PROT_READ), EINVAL);
  mix_number(faults);
}

PROBE(.setup = setup, .round = each)
