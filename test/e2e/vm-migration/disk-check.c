/*
 * Random reads and writes of 64 KiB on one file or disk, past the page cache, each read checked against what was written.
 *
 *     disk-check NAME PATH BYTES SEED
 *
 * Writes the whole range first, then goes on until there is a file /run/stop, then reads the whole range once more. Ends with
 * one line: operations, errors, and the longest time that one took.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK_BYTES = 64 << 10, BLOCKS_MAX = 4096 };

static const char *name;
static int fd;
static unsigned versions[BLOCKS_MAX];
static unsigned long long *buffer, state;
static long operations, errors;
static double longest;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static unsigned dice(unsigned limit) {
  state = state * 6364136223846793005ULL + 1442695040888963407ULL;
  return (unsigned)(state >> 33) % limit;
}

/* The words of a block are a function of which it is and how often it was written. */
static unsigned long long first_word(unsigned block) {
  return ((unsigned long long)block << 32 | versions[block]) * 0x9e3779b97f4a7c15ULL + 1;
}
static unsigned long long next_word(unsigned long long word) {
  word ^= word << 13;
  word ^= word >> 7;
  return word ^ word << 17;
}

static void fail(const char *what, unsigned block) {
  errors += 1;
  printf("disk-check: PROBLEM %s: %s of block %u after %ld operations: %s\n", name, what, block, operations, strerror(errno));
}

static void write_block(unsigned block) {
  versions[block] += 1;
  unsigned long long word = first_word(block);
  for (int i = 0; i < BLOCK_BYTES / 8; i++, word = next_word(word)) buffer[i] = word;
  if (pwrite(fd, buffer, BLOCK_BYTES, (off_t)block * BLOCK_BYTES) != BLOCK_BYTES) fail("write", block);
}

static void read_block(unsigned block) {
  unsigned long long word = first_word(block);
  errno = 0;
  if (pread(fd, buffer, BLOCK_BYTES, (off_t)block * BLOCK_BYTES) != BLOCK_BYTES) { fail("read", block); return; }
  for (int i = 0; i < BLOCK_BYTES / 8; i++, word = next_word(word))
    if (buffer[i] != word) { fail("contents", block); return; }
}

static void timed(void (*operation)(unsigned), unsigned block) {
  double start = now();
  operation(block);
  operations += 1;
  if (now() - start > longest) longest = now() - start;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  name = argv[1];
  unsigned blocks = atoi(argv[3]) / BLOCK_BYTES;
  state = strtoull(argv[4], 0, 10);
  fd = open(argv[2], O_RDWR | O_CREAT | O_DIRECT, 0644);
  if (fd < 0 || blocks > BLOCKS_MAX || posix_memalign((void **)&buffer, 4096, BLOCK_BYTES) != 0) {
    fail("open", 0);
    return 1;
  }
  for (unsigned i = 0; i < blocks; i++) timed(write_block, i);
  printf("disk-check: %s written\n", name);
  fflush(stdout);
  double told = now();
  while (access("/run/stop", F_OK) != 0 && errors == 0) {
    timed(dice(4) == 0 ? write_block : read_block, dice(blocks));
    if (now() - told < 2e3) continue;
    told = now();
    printf("disk-check: %s, %ld operations, longest %.0f ms\n", name, operations, longest);
    fflush(stdout);
  }
  for (unsigned i = 0; i < blocks; i++) timed(read_block, i);
  fsync(fd);
  printf("disk-check: %s ended: operations %ld errors %ld longest %.0f\n", name, operations, errors, longest);
  return errors != 0;
}
