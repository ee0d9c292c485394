/*
** hello.c - discover from C: register, call and wait, call and be told.
**
**   cc hello.c -o hello $(pkg-config --cflags --libs discover)
**   ./hello redis://127.0.0.1:6379/15 hello 127.0.0.1:8081
**
** (a registry, the app to call, the address under which this program is known; examples/service.lua is a "hello")
*/
#include <stdio.h>

#include <discover.h>

static void show(const char *how, const dsc_result *result) {
  if (dsc_result_ok(result))
    printf("%s: %d from %s, %zu bytes\n", how, result->status, result->node, result->body_len);
  else
    printf("%s: failed: %s: %s\n", how, dsc_err_name(result->err), result->why ? result->why : "");
}

/* Called by poll, in this thread; `ctx` is what dsc_discoverer_enter() was given. */
static void on_answer(void *ctx, void *ud, dsc_future *future) {
  int *left = ctx;
  show(ud, dsc_future_result(future));
  --*left;
}

static dsc_err set_up(dsc_frame *frame, dsc_str app, dsc_str own_addr, dsc_why *why) {
  dsc_call_config *config;
  dsc_err err = dsc_call_config_parse(&config, DSC_STR_LITERAL("1:2s"), why); /* HTTP/1.1, 2 s an attempt */
  if (err) return err;
  err = dsc_discoverer_configure(frame, app, config, NULL, why);
  dsc_call_config_unref(config);
  if (!err) err = dsc_discoverer_register(frame, DSC_STR_LITERAL("hello-c"), own_addr, 100, NULL, why);
  if (!err) err = dsc_discoverer_ready(frame, 3000, why);
  return err;
}

static void call(dsc_frame *frame, dsc_str app, int *left) {
  dsc_request request = {.app = app, .method = DSC_STR_LITERAL("GET"), .path = DSC_STR_LITERAL("/")};
  dsc_result *result = dsc_discoverer_call(frame, &request);
  if (result) show("waited", result);
  dsc_result_free(result);

  dsc_future *futures[3];
  for (int i = 0; i < 3; i++) {
    futures[i] = dsc_discoverer_async(frame, &request, false);
    if (!futures[i]) continue;
    dsc_future_on(futures[i], on_answer, "told");
    ++*left;
  }
  while (*left) dsc_discoverer_poll(frame, &(dsc_poll){.timeout_ms = 1000});
  for (int i = 0; i < 3; i++) dsc_future_free(futures[i]);
}

int main(int argc, char **argv) {
  int left = 0;
  dsc_why why = {""};
  dsc_frame frame;
  dsc_options options;
  dsc_discoverer *d = NULL;
  dsc_options_defaults(&options);
  options.registry = dsc_str_of(argc > 1 ? argv[1] : "redis://127.0.0.1:6379/15");
  dsc_str app = dsc_str_of(argc > 2 ? argv[2] : "hello"), addr = dsc_str_of(argc > 3 ? argv[3] : "127.0.0.1:8081");
  dsc_err err = dsc_discoverer_new(&d, &options, &why);
  if (!err) err = dsc_discoverer_enter(d, &frame, &left, &why);
  if (!err) {
    err = set_up(&frame, app, addr, &why);
    if (!err) call(&frame, app, &left);
    dsc_discoverer_leave(&frame);
  }
  if (err) fprintf(stderr, "hello: %s: %s\n", dsc_err_name(err), why.text);
  dsc_discoverer_free(d, true); /* stops it: says goodbye */
  return err ? 1 : 0;
}
