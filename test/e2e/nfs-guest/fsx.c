/*
 * Random operations on one file, checked against a copy in memory; in the manner of Apple's fsx.
 *
 *     fsx FILE SEED SECONDS
 *
 * Writes, reads, cuts, grows, syncs, closes and opens again. What was synced is dropped from the page cache, so that it is
 * read from the server. Tells of each operation that was slow. Ends with one line: operations, errors, and the longest time that one operation took.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FILE_BYTES = 1 << 20, IO_BYTES = 64 << 10, SLOW_MS = 400 };

static unsigned char model[FILE_BYTES], buffer[IO_BYTES];
static long size;
static unsigned long long state;
static long operations, errors;
static const char *path;
static int fd;

static unsigned dice(unsigned limit) {
  state = state * 6364136223846793005ULL + 1442695040888963407ULL;
  return (unsigned)(state >> 33) % limit;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void fail(const char *what) {
  errors += 1;
  printf("fsx: %s failed after %ld operations: %s\n", what, operations, strerror(errno));
}

static void do_write(void) {
  long at = dice(FILE_BYTES - IO_BYTES), length = 1 + dice(IO_BYTES);
  for (long i = 0; i < length; i++) buffer[i] = dice(256);
  if (pwrite(fd, buffer, length, at) != length) { fail("write"); return; }
  memcpy(model + at, buffer, length);
  if (at + length > size) size = at + length;
}

static void do_read(void) {
  long at = dice(FILE_BYTES - IO_BYTES), length = 1 + dice(IO_BYTES);
  long expected = at >= size ? 0 : at + length > size ? size - at : length;
  long got = pread(fd, buffer, length, at);
  if (got != expected) { fail("read (length)"); return; }
  for (long i = 0; i < got; i++) {
    if (buffer[i] == model[at + i]) continue;
    errors += 1;
    printf("fsx: byte %ld is %d, not %d, after %ld operations\n", at + i, buffer[i], model[at + i], operations);
    return;
  }
}

static void do_truncate(void) {
  long to = dice(FILE_BYTES);
  if (ftruncate(fd, to) != 0) { fail("truncate"); return; }
  if (to < size) memset(model + to, 0, size - to);
  size = to;
}

static void do_sync(void) {
  if (fsync(fd) != 0) { fail("sync"); return; }
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static void do_reopen(void) {
  if (close(fd) != 0) fail("close");
  fd = open(path, O_RDWR);
  if (fd < 0) fail("open");
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  path = argv[1];
  state = strtoull(argv[2], 0, 10);
  double end = now() + atof(argv[3]) * 1e3, longest = 0, told = now();
  fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) fail("create");
  while (now() < end && errors == 0) {
    double start = now();
    unsigned kind = dice(20);
    const char *what;
    if (kind < 7) what = "write", do_write();
    else if (kind < 14) what = "read", do_read();
    else if (kind < 16) what = "truncate", do_truncate();
    else if (kind < 19) what = "sync", do_sync();
    else what = "reopen", do_reopen();
    operations += 1;
    double took = now() - start;
    if (took > longest) longest = took;
    if (took > SLOW_MS) printf("fsx: slow %s %.0f ms\n", what, took), fflush(stdout);
    if (now() - told < 5e3) continue;
    told = now();
    printf("fsx: %ld operations so far, longest %.0f ms\n", operations, longest);
    fflush(stdout);
  }
  printf("fsx: operations %ld errors %ld longest %.0f\n", operations, errors, longest);
  return errors != 0;
}
