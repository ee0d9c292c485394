/*
** websocket_open.c - the way to an open WebSocket: a call whose attempts are opening handshakes.
**
** Route, look-up, choice of a node, back-off, deadline, health, counters, trace and log are the call's; only what an
** attempt is differs. An answer other than 101 that a call would give back ends the opening.
*/
#include <stdio.h>

#include "base/mem.h"
#include "core/websocket_impl.h"

void dsc_websocket_options_defaults(dsc_websocket_options *options) {
  *options =
      (dsc_websocket_options){.ping_ms = DSC_WEBSOCKET_PING_MS, .ping_timeout_ms = DSC_WEBSOCKET_PING_TIMEOUT_MS};
}

/* Inside the loop: takes the answer over and leaves the rest to the step. */
static void on_opened(void *ud, dsc_http_answer *answer) {
  dsc_websocket *ws = ud;
  dsc_call *call = ws->call;
  call->answer = *answer;
  dsc_headers_init(&answer->headers);
  call->answered = true;
  dsc_call_make_ready(call);
  dsc_loop_stop(call->d->loop);
}

static dsc_err need_ws(dsc_discoverer *d, dsc_why *why) {
  if (d->ws) return DSC_OK;
  dsc_err err = dsc_discoverer_need_http(d, why); /* loop and resolver come with it */
  if (err) return err;
  d->ws = dsc_ws_new(d->loop, d->resolver, &err);
  return d->ws ? DSC_OK : dsc_fail(why, err, "the WebSocket client could not be made: %s", dsc_err_text(err));
}

dsc_err dsc_websocket_attempt(dsc_call *call, uint32_t timeout_ms, dsc_why *why) {
  static const dsc_ws_events events = {on_opened, dsc_websocket_on_moved, dsc_websocket_on_closed};
  dsc_websocket *ws = call->websocket;
  const dsc_call_config *config = call->config;
  dsc_err err = need_ws(call->d, why);
  if (err) return err;
  ws->max_message = call->request->has_max_body ? call->request->max_body : config->max_body;
  dsc_ws_request request = {.host = call->node->host,
                            .port = call->node->port,
                            .addr = call->node->addr,
                            .target = call->ac.path.s.p,
                            .headers = &call->headers,
                            .secret_name = config->token ? "Access-Token" : NULL,
                            .secret = config->token,
                            .protocols = ws->options.protocols,
                            .tls = call->tls,
                            .timeout_ms = timeout_ms,
                            .connect_timeout_ms = config->connect_timeout_ms,
                            .max_message = ws->max_message,
                            .max_queued = DSC_WEBSOCKET_QUEUE,
                            .ping_ms = ws->options.ping_ms,
                            .ping_timeout_ms = ws->options.ping_timeout_ms};
  ws->ended = false;
  return dsc_ws_connect(call->d->ws, &request, &events, ws, &ws->conn, why);
}

static void drop_conn(dsc_websocket *ws) {
  dsc_ws_conn_free(ws->conn);
  ws->conn = NULL;
}

void dsc_websocket_attempt_end(dsc_call *call) {
  dsc_websocket *ws = call->websocket;
  if (call->answer.err || call->answer.status != 101) {
    drop_conn(ws);
    return;
  }
  snprintf(ws->addr, sizeof ws->addr, "%s", call->node->addr);
  if (ws->ended) return; /* while the step was waited for */
  dsc_table_hold(call->node->table, call->node);
  ws->node = dsc_node_ref(call->node);
  dsc_place_move(&ws->place, &call->place);
}

bool dsc_websocket_attempt_break(dsc_call *call) {
  dsc_websocket *ws = call->websocket;
  if (!ws || !ws->conn) return false;
  drop_conn(ws);
  return true;
}

/* Says why nothing was opened. */
static dsc_err explain(const dsc_result *result, dsc_why *why) {
  if (result->err) return dsc_fail(why, result->err, "%s", result->why ? result->why : dsc_err_text(result->err));
  return dsc_fail(why, DSC_EPROTOCOL, "%s answered %d%s%s instead of opening a WebSocket", result->node, result->status,
                  result->reason && *result->reason ? " " : "", result->reason ? result->reason : "");
}

/* True when `names` has `name` before `end`. */
static bool is_listed(const char *names, const char *end, dsc_str name) {
  for (dsc_str rest = {names, (size_t)(end - names)}; rest.n;)
    if (dsc_str_equal(dsc_str_trim(dsc_str_cut(&rest, ',')), name)) return true;
  return false;
}

/* Tokens, each once (RFC 6455, 4.1): they go into a header as they are. */
static dsc_err check_protocols(const char *names, dsc_why *why) {
  for (dsc_str rest = dsc_str_of(names); rest.p;) {
    const char *begin = rest.p;
    dsc_str name = dsc_str_trim(dsc_str_cut(&rest, ','));
    if (dsc_headers_check_name(name, NULL))
      return dsc_fail(why, DSC_EINVALID, "protocols: \"%.*s\" is no token", DSC_STR_ARG(name));
    if (is_listed(names, begin, name))
      return dsc_fail(why, DSC_EINVALID, "protocols: \"%.*s\" is there twice", DSC_STR_ARG(name));
  }
  return DSC_OK;
}

dsc_err dsc_websocket_prepare(dsc_frame *frame, dsc_call *call, dsc_request *request, dsc_result *result,
                              const dsc_websocket_options *options, dsc_websocket **ws, dsc_why *why) {
  dsc_err err = options->protocols ? check_protocols(options->protocols, why) : DSC_OK;
  if (err) return err;
  *ws = dsc_websocket_new(frame->d);
  if (!*ws) return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  request->method = DSC_STR_LITERAL("WS");
  request->has_body = false;
  request->source = NULL;
  request->on_progress = NULL;
  dsc_call_prepare(frame, call, request, result);
  call->websocket = *ws;
  (*ws)->call = call;
  (*ws)->options = *options;
  return DSC_OK;
}

dsc_err dsc_websocket_opened(dsc_websocket *ws, const dsc_result *result, dsc_why *why) {
  ws->call = NULL;
  ws->options.protocols = NULL;
  return result->err || result->status != 101 ? explain(result, why) : DSC_OK;
}

static dsc_err open_with(dsc_frame *frame, const dsc_request *request, const dsc_websocket_options *options,
                         dsc_result *result, dsc_websocket **out, dsc_why *why) {
  dsc_call call;
  dsc_request opening = *request;
  dsc_websocket *ws;
  dsc_err err = dsc_websocket_prepare(frame, &call, &opening, result, options, &ws, why);
  if (err) return err;
  dsc_call_run(frame, &call);
  err = dsc_websocket_opened(ws, result, why);
  dsc_call_fini(&call);
  if (err)
    dsc_websocket_free(ws);
  else
    *out = ws;
  return err;
}

dsc_err dsc_websocket_open(dsc_frame *frame, const dsc_request *request, const dsc_websocket_options *options,
                           dsc_websocket **out, dsc_why *why) {
  dsc_discoverer *d = frame->d;
  *out = NULL;
  if (d->stopping) return dsc_fail(why, DSC_ESTOPPED, "%s", dsc_err_text(DSC_ESTOPPED));
  if (d->callbacks > DSC_MAX_DEPTH)
    return dsc_fail(why, DSC_ECALLBACK, "calls inside callbacks are nested more than 8 deep");
  dsc_result *result = dsc_result_new();
  if (!result) return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  dsc_err err = open_with(frame, request, options, result, out, why);
  dsc_result_free(result);
  return err;
}
