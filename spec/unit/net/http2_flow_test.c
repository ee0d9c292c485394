/*
** http2_flow_test.c - bodies in pieces over HTTP/2 by prior knowledge, against nghttp2's own server.
*/
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "http_flow_support.h"

#define FILE_SIZE (48 * MIB)

static struct server {
  pid_t pid;
  uint16_t port;
  char addr[32], dir[64];
} server;

static void write_file(const char *name, size_t n) {
  char path[128];
  char *bytes = malloc(n);
  snprintf(path, sizeof path, "%s/%s", server.dir, name);
  FILE *f = fopen(path, "w");
  pattern_fill(bytes, n, 0);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  fclose(f);
  free(bytes);
}

static bool answers(void) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(server.port)};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool up = connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
  close(fd);
  return up;
}

static int server_start(void **state) {
  (void)state;
  struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof sin;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(fd, (struct sockaddr *)&sin, sizeof sin) != 0) return 1;
  getsockname(fd, (struct sockaddr *)&sin, &len);
  server.port = ntohs(sin.sin_port);
  close(fd);
  snprintf(server.addr, sizeof server.addr, "127.0.0.1:%u", server.port);
  snprintf(server.dir, sizeof server.dir, "/tmp/dsc-h2-XXXXXX");
  if (!mkdtemp(server.dir)) return 1;
  write_file("large", FILE_SIZE);
  write_file("small", 1000);
  char docs[80], port[8];
  snprintf(docs, sizeof docs, "--htdocs=%s", server.dir);
  snprintf(port, sizeof port, "%u", server.port);
  server.pid = fork();
  if (server.pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execlp("nghttpd", "nghttpd", "--no-tls", "--address=127.0.0.1", "--echo-upload", docs, port, (char *)NULL);
    _exit(127);
  }
  for (int i = 0; i < 2000 && !answers(); i++) usleep(5000);
  return answers() ? 0 : 1;
}

static int server_stop(void **state) {
  (void)state;
  char path[128];
  kill(server.pid, SIGKILL);
  waitpid(server.pid, NULL, 0);
  snprintf(path, sizeof path, "%s/large", server.dir);
  unlink(path);
  snprintf(path, sizeof path, "%s/small", server.dir);
  unlink(path);
  return rmdir(server.dir);
}

static dsc_http_request request_for(const char *target) {
  dsc_http_request request = request_to(server.addr, "127.0.0.1", server.port);
  request.target = target;
  request.http2 = true;
  request.max_body = UINT64_MAX;
  return request;
}

static void small_call(bench *b) {
  shot s;
  dsc_http_request request = request_for("/small");
  call(b, &request, &s);
  expect(&s, DSC_OK, NULL);
  assert_int_equal(s.answer.http_major, 2);
  assert_int_equal(s.answer.body_len, 1000);
  shot_clear(&s);
}

/* A reader who takes his time holds up nobody else, and the memory he needs is bounded. */
static void a_paused_stream_stalls_nobody(void **state) {
  (void)state;
  enum { MANY = 4 };
  bench b;
  flow_shot f[MANY];
  bench_open(&b);
  small_call(&b);
  dsc_http_request request = request_for("/large");
  size_t start = resident();
  for (int i = 0; i < MANY; i++) {
    flow_fire(&b, &request, &f[i], true);
    await_opened(&b, &f[i]);
    assert_int_equal(f[i].status, 200);
  }
  for (int i = 0; i < 50; i++) small_call(&b);
  run_for(&b, 100);
  for (int i = 0; i < 50; i++) small_call(&b);
  if (slowness() == 1) assert_true(resident() < start + 8 * MIB);
  for (int i = 0; i < MANY - 1; i++) {
    drink(&b, &f[i], 100000);
    expect(&f[i].s, DSC_OK, NULL);
    assert_int_equal(f[i].got, FILE_SIZE);
    assert_false(f[i].wrong);
    shot_clear(&f[i].s);
    small_call(&b);
  }
  dsc_http_cancel(f[MANY - 1].s.attempt);
  small_call(&b);
  bench_close(&b);
}

static void a_source_is_the_body(void **state) {
  static const uint64_t sizes[] = {0, 1, 16384, 70000, 4000000};
  (void)state;
  bench b;
  bench_open(&b);
  for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
    spring water;
    flow_shot f;
    uint64_t size = sizes[i / 2];
    dsc_http_source source = spring_of(&water, size, i % 2);
    dsc_http_request request = request_for("/");
    request.method = "POST";
    request.source = &source;
    if (size == 70000) water.stop_at = 30000;
    flow_fire(&b, &request, &f, true);
    if (size == 70000) {
      while (water.laters == 0) dsc_loop_run(b.loop, 1000);
      run_for(&b, 20);
      water.stop_at = UINT64_MAX;
      dsc_http_resume(f.s.attempt);
    }
    drink(&b, &f, 65536);
    expect(&f.s, DSC_OK, NULL);
    assert_int_equal(f.got, size);
    assert_false(f.wrong);
    shot_clear(&f.s);
  }
  bench_close(&b);
}

/* What waits for its source holds up nobody either. */
static void a_paused_source_stalls_nobody(void **state) {
  (void)state;
  bench b;
  flow_shot f;
  spring water;
  bench_open(&b);
  small_call(&b);
  dsc_http_source source = spring_of(&water, 500000, false);
  dsc_http_request request = request_for("/");
  request.method = "POST";
  request.source = &source;
  water.stop_at = 100000;
  flow_fire(&b, &request, &f, false);
  while (water.laters == 0) dsc_loop_run(b.loop, 1000);
  for (int i = 0; i < 20; i++) small_call(&b);
  assert_int_equal(f.s.done, 0);
  water.stop_at = UINT64_MAX;
  dsc_http_resume(f.s.attempt);
  await(&b, &f.s);
  expect(&f.s, DSC_OK, NULL);
  assert_int_equal(f.s.answer.body_len, 500000);
  assert_true(pattern_is(f.s.answer.body, 500000, 0));
  shot_clear(&f.s);
  bench_close(&b);
}

static void streams_may_be_canceled(void **state) {
  (void)state;
  bench b;
  int files = 0;
  bench_open(&b);
  for (int i = 0; i < 60; i++) {
    flow_shot f;
    dsc_http_request request = request_for("/large");
    if (i == 10) files = open_files();
    flow_fire(&b, &request, &f, true);
    if (i % 3) await_opened(&b, &f);
    if (i % 3 == 1) run_for(&b, 2);
    dsc_http_cancel(f.s.attempt);
    if (i % 5 == 0) small_call(&b);
  }
  dsc_loop_run(b.loop, 0);
  assert_true(open_files() <= files + 2);
  bench_close(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_paused_stream_stalls_nobody),
      cmocka_unit_test(a_source_is_the_body),
      cmocka_unit_test(a_paused_source_stalls_nobody),
      cmocka_unit_test(streams_may_be_canceled),
  };
  return cmocka_run_group_tests(tests, server_start, server_stop);
}
