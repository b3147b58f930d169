/*
 * Load on one file of an NFSv3 server, over one TCP connection: calls are encoded once, then sent again and again with
 * another xid, offset and stamp in the data; answers are checked in their first bytes and the rest is read and dropped. So it
 * costs far less than a server, also at 1 MiB, which no client that encodes and decodes does.
 *
 *     nfs-load HOST NFS-PORT MOUNT-PORT EXPORT FILE FILE-BYTES fill|read|write|sync BLOCK-BYTES DEPTH SECONDS
 *
 * fill writes the file once, whole, and commits it. write is UNSTABLE, sync is FILE_SYNC. Blocks below 64 KiB come in random
 * order, others in sequence. Half of each 4 KiB is noise, half zeros, and no two are the same. Each run lasts half its
 * time longer, ahead of what is measured. Prints operations, seconds, and CPU seconds of its own in them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, DEPTH_MAX = 64, HEAD_MAX = 512, RECEIVE_BYTES = 1 << 20, ANSWER_TIMEOUT_MS = 60000 };
enum { MOUNT_PROGRAM = 100005, NFS_PROGRAM = 100003, MNT = 1, CREATE = 8, READ = 6, WRITE = 7, COMMIT = 21 };
enum { UNSTABLE = 0, FILE_SYNC = 2, FATTR_BYTES = 84, PRE_OP_BYTES = 24 };

static void die(const char *what) {
  fprintf(stderr, "nfs-load: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static uint64_t state = 0x9e3779b97f4a7c15ull;
static uint64_t dice(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

/* XDR, out. */
struct out { uint8_t bytes[HEAD_MAX]; size_t length; };
static void u32(struct out *o, uint32_t value) {
  uint32_t wire = htonl(value);
  memcpy(o->bytes + o->length, &wire, 4);
  o->length += 4;
}
static void u64(struct out *o, uint64_t value) { u32(o, value >> 32); u32(o, (uint32_t)value); }
static void opaque(struct out *o, const void *bytes, uint32_t length) {
  if (o->length + length + 8 > HEAD_MAX) { errno = 0; die("a name is too long"); }
  u32(o, length);
  memcpy(o->bytes + o->length, bytes, length);
  memset(o->bytes + o->length + length, 0, 3);
  o->length += (length + 3) & ~3u;
}
/* A call up to its arguments, behind room for the record mark. */
static void call(struct out *o, uint32_t program, uint32_t procedure) {
  o->length = 4;
  u32(o, 0); /* xid, set when it is sent */
  u32(o, 0); /* CALL */
  u32(o, 2); /* RPC version */
  u32(o, program); u32(o, 3); u32(o, procedure);
  u32(o, 1); u32(o, 28); /* AUTH_SYS: stamp, machine, root, its group, no more groups */
  u32(o, 0); opaque(o, "bench", 5); u32(o, 0); u32(o, 0); u32(o, 0);
  u32(o, 0); u32(o, 0); /* no verifier */
}
static void set32(uint8_t *at, uint32_t value) { uint32_t wire = htonl(value); memcpy(at, &wire, 4); }
static uint32_t get32(const uint8_t *at) { uint32_t wire; memcpy(&wire, at, 4); return ntohl(wire); }

/* The connection: records in. Of each the first bytes are kept. */
static int sock;
static uint8_t received[RECEIVE_BYTES], mark[4], answer[HEAD_MAX];
static size_t mark_length, fragment_left, answer_length, record_length;
static int last_fragment, fresh_record = 1;
static void on_answer(void);

static void parse(const uint8_t *at, size_t length) {
  while (length > 0) {
    size_t take;
    if (mark_length < 4) {
      take = 4 - mark_length < length ? 4 - mark_length : length;
      memcpy(mark + mark_length, at, take);
      mark_length += take;
      if (mark_length == 4) {
        if (fresh_record) answer_length = record_length = 0;
        fresh_record = 0;
        fragment_left = get32(mark) & 0x7fffffff;
        last_fragment = get32(mark) >> 31;
      }
    } else {
      take = fragment_left < length ? fragment_left : length;
      size_t keep = HEAD_MAX - answer_length < take ? HEAD_MAX - answer_length : take;
      memcpy(answer + answer_length, at, keep);
      answer_length += keep;
      record_length += take;
      fragment_left -= take;
    }
    at += take;
    length -= take;
    if (mark_length < 4 || fragment_left > 0) continue;
    mark_length = 0;
    if (!last_fragment) continue;
    fresh_record = 1;
    on_answer();
  }
}

static void receive(void) {
  ssize_t got = recv(sock, received, sizeof received, MSG_DONTWAIT);
  if (got == 0) { errno = 0; die("the server closed the connection"); }
  if (got < 0 && errno != EAGAIN && errno != EINTR) die("receive");
  if (got > 0) parse(received, got);
}

static void connect_to(const char *host, const char *port) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
  int one = 1;
  if (getaddrinfo(host, port, &hints, &found) != 0) die("no such host");
  sock = socket(found->ai_family, SOCK_STREAM, 0);
  if (sock < 0 || connect(sock, found->ai_addr, found->ai_addrlen) != 0) die("connect");
  setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  freeaddrinfo(found);
}

/* Where the results of the answer begin, behind their status. */
static const uint8_t *results(void) {
  size_t verifier = answer_length >= 20 ? get32(answer + 16) : HEAD_MAX, at = 20 + verifier;
  errno = 0;
  if (verifier > 400 || at + 8 > answer_length || get32(answer + 8) != 0) die("the call was denied");
  if (get32(answer + at) != 0) die("the call was not accepted");
  if (get32(answer + at + 4) == 0) return answer + at + 8;
  fprintf(stderr, "nfs-load: status %u\n", get32(answer + at + 4));
  exit(1);
}

/* One call and its answer, before the load. */
static int answered;
static const uint8_t *ask(struct out *o) {
  static uint32_t xid = 0x7f000000;
  struct pollfd p;
  set32(o->bytes, 0x80000000u + o->length - 4);
  set32(o->bytes + 4, ++xid + (getpid() << 8));
  if (send(sock, o->bytes, o->length, 0) != (ssize_t)o->length) die("send");
  for (answered = 0; !answered; receive()) {
    p = (struct pollfd){.fd = sock, .events = POLLIN};
    if (poll(&p, 1, ANSWER_TIMEOUT_MS) == 0) die("no answer");
  }
  return results();
}

/* The load. */
struct slot { struct out head; uint8_t *data; size_t sent, total; };
static struct slot slots[DEPTH_MAX];
static int queue[DEPTH_MAX], queued, under_way, loading, writes, ending;
static uint64_t file_bytes, block_bytes, position, stamp, operations, left = UINT64_MAX;
static size_t offset_at;

static void issue(int index) {
  static uint32_t turn;
  struct slot *slot = &slots[index];
  uint64_t blocks = file_bytes / block_bytes;
  uint64_t offset = (block_bytes < 65536 ? dice() % blocks : position++ % blocks) * block_bytes;
  if (ending || left == 0) return;
  left -= 1;
  set32(slot->head.bytes + 4, turn++ * DEPTH_MAX + index);
  set32(slot->head.bytes + offset_at, offset >> 32);
  set32(slot->head.bytes + offset_at + 4, (uint32_t)offset);
  if (writes)
    for (uint64_t at = 0; at < block_bytes; at += BLOCK) memcpy(slot->data + at, &(uint64_t){++stamp}, 8);
  slot->sent = 0;
  queue[queued++] = index;
  under_way += 1;
}

static void flush_queue(void) {
  while (queued > 0) {
    struct slot *slot = &slots[queue[0]];
    size_t head = slot->head.length;
    struct iovec parts[2];
    int count = 0;
    if (slot->sent < head) parts[count++] = (struct iovec){slot->head.bytes + slot->sent, head - slot->sent};
    if (slot->total > head) {
      size_t from = slot->sent > head ? slot->sent - head : 0;
      parts[count++] = (struct iovec){slot->data + from, slot->total - head - from};
    }
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    ssize_t sent = sendmsg(sock, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) die("send");
    if (sent <= 0) return;
    slot->sent += sent;
    if (slot->sent < slot->total) continue;
    queued -= 1;
    memmove(queue, queue + 1, queued * sizeof *queue);
  }
}

static void on_answer(void) {
  if (!loading) { answered = 1; return; }
  const uint8_t *at = results();
  if (writes) at += get32(at) ? 4 + PRE_OP_BYTES : 4;
  at += get32(at) ? 4 + FATTR_BYTES : 4;
  errno = 0;
  if (get32(at) != block_bytes) die("not all was read or written");
  if (!writes && record_length < block_bytes) die("less came than was told");
  operations += 1;
  under_way -= 1;
  issue(get32(answer) % DEPTH_MAX);
}

static void load_until(double end) {
  while (under_way > 0 && now() < end) {
    flush_queue();
    struct pollfd p = {.fd = sock, .events = POLLIN | (queued > 0 ? POLLOUT : 0)};
    int ready = poll(&p, 1, ANSWER_TIMEOUT_MS);
    if (ready == 0) { errno = 0; die("no answer"); }
    if (ready > 0 && (p.revents & (POLLIN | POLLHUP | POLLERR))) receive();
  }
}

static void prepare(struct slot *slot, const uint8_t *handle, uint32_t handle_bytes, int stable) {
  call(&slot->head, NFS_PROGRAM, writes ? WRITE : READ);
  opaque(&slot->head, handle, handle_bytes);
  offset_at = slot->head.length;
  u64(&slot->head, 0);
  u32(&slot->head, block_bytes);
  if (writes) {
    u32(&slot->head, stable);
    u32(&slot->head, block_bytes);
    slot->data = calloc(1, block_bytes);
    for (uint64_t at = 0; at < block_bytes; at += BLOCK)
      for (int i = 0; i < BLOCK / 2; i += 8) memcpy(slot->data + at + i, &(uint64_t){dice()}, 8);
  }
  slot->total = slot->head.length + (writes ? block_bytes : 0);
  set32(slot->head.bytes, 0x80000000u + slot->total - 4);
}

int main(int argc, char **argv) {
  if (argc != 11) { errno = 0; die("ten words are needed, see the head of its source"); }
  const char *host = argv[1], *export = argv[4], *file = argv[5], *what = argv[7];
  int fill = !strcmp(what, "fill"), sync = !strcmp(what, "sync"), depth = atoi(argv[9]);
  double seconds = atof(argv[10]);
  file_bytes = strtoull(argv[6], 0, 10);
  block_bytes = strtoull(argv[8], 0, 10);
  writes = strcmp(what, "read") != 0;
  errno = 0;
  if (depth < 1 || depth > DEPTH_MAX || block_bytes % BLOCK || file_bytes < block_bytes) die("arguments");
  state ^= (uint64_t)getpid() << 32 ^ (uint64_t)(now() * 1e6);
  stamp = dice();
  dice();

  struct out o;
  uint8_t root[64], handle[64];
  const uint8_t *at;
  connect_to(host, argv[3]);
  call(&o, MOUNT_PROGRAM, MNT);
  opaque(&o, export, strlen(export));
  at = ask(&o);
  uint32_t root_bytes = get32(at), handle_bytes;
  if (root_bytes > 64) die("no handle");
  memcpy(root, at + 4, root_bytes);
  close(sock);

  connect_to(host, argv[2]);
  call(&o, NFS_PROGRAM, CREATE);
  opaque(&o, root, root_bytes);
  opaque(&o, file, strlen(file));
  u32(&o, 0); /* UNCHECKED: takes what is there */
  u32(&o, 1); u32(&o, 0644);
  for (int i = 0; i < 5; i++) u32(&o, 0);
  at = ask(&o);
  if (get32(at) != 1 || (handle_bytes = get32(at + 4)) > 64) { errno = 0; die("no handle"); }
  memcpy(handle, at + 8, handle_bytes);

  for (int i = 0; i < depth; i++) prepare(&slots[i], handle, handle_bytes, sync ? FILE_SYNC : UNSTABLE);
  loading = 1;
  if (fill) left = file_bytes / block_bytes;
  for (int i = 0; i < depth; i++) issue(i);
  if (!fill) load_until(now() + seconds / 2);
  double start = now(), cpu_start = cpu();
  operations = 0;
  load_until(fill ? start + 600 : start + seconds);
  double took = now() - start, cpu_took = cpu() - cpu_start;
  uint64_t measured = operations;
  ending = 1;
  load_until(now() + 600);
  loading = 0;
  if (fill) {
    call(&o, NFS_PROGRAM, COMMIT);
    opaque(&o, handle, handle_bytes);
    u64(&o, 0);
    u32(&o, 0);
    ask(&o);
  }
  printf("{\"operations\":%llu,\"seconds\":%.6f,\"cpuSeconds\":%.6f}\n", (unsigned long long)measured, took, cpu_took);
  return 0;
}
