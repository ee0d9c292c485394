/*
** ws_greet.c - the opening handshake (RFC 6455, section 4): the request, and the answer judged.
**
** The request is built in one block that is sized before, so that growing leaves no copy of the secret behind; block
** and buffer are wiped when it was sent. The answer is any HTTP/1.1 head; what is not 101 is given back as it is, and
** a 101 must be exactly what was asked for.
*/
#include <stdio.h>
#include <sys/random.h>

#include "base/mem.h"
#include "net/ws_impl.h"

/* ------------------------------------------------------------- the request */

/* What the handshake itself says, or what has no place in it. */
static bool is_passed_on(dsc_str name) {
  static const char *const ours[] = {"Connection", "Upgrade", "Content-Length", "Transfer-Encoding", "Expect", "TE"};
  for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
    if (dsc_str_equal_nocase(name, dsc_str_of(ours[i]))) return false;
  return name.n < 14 || !dsc_str_equal_nocase((dsc_str){name.p, 14}, DSC_STR_LITERAL("Sec-WebSocket-"));
}

/* A writer that only counts while `p` is NULL. */
typedef struct writer {
  char *p;
  size_t n;
  const char *name; /* of the secret's header */
} writer;

static void put(writer *w, dsc_str s) {
  if (w->p && s.n) memcpy(w->p + w->n, s.p, s.n);
  w->n += s.n;
}

static void put_line(writer *w, dsc_str name, dsc_str value) {
  put(w, name);
  put(w, DSC_STR_LITERAL(": "));
  put(w, value);
  put(w, DSC_STR_LITERAL("\r\n"));
}

static void put_secret(void *ud, dsc_str bytes) {
  writer *w = ud;
  put_line(w, dsc_str_of(w->name), bytes);
}

static void put_host(writer *w, const dsc_ws_conn *conn) {
  const char *name = conn->tls ? dsc_tls_server_name(conn->tls) : NULL;
  char port[16] = "";
  if (!name) {
    put_line(w, DSC_STR_LITERAL("Host"), dsc_str_of(conn->request.addr));
    return;
  }
  if (conn->request.port != 443) snprintf(port, sizeof port, ":%u", conn->request.port);
  put(w, DSC_STR_LITERAL("Host: "));
  put(w, dsc_str_of(name));
  put(w, dsc_str_of(port));
  put(w, DSC_STR_LITERAL("\r\n"));
}

/* Writes the request, or counts its bytes. Returns false when the secret can't be read. */
static bool put_request(writer *w, const dsc_ws_conn *conn, const char *key) {
  const dsc_ws_request *request = &conn->request;
  const dsc_headers *headers = request->headers;
  bool has_host = headers && dsc_headers_find(headers, DSC_STR_LITERAL("Host"));
  put(w, DSC_STR_LITERAL("GET "));
  put(w, dsc_str_of(request->target));
  put(w, DSC_STR_LITERAL(" HTTP/1.1\r\n"));
  if (!has_host) put_host(w, conn);
  put(w, DSC_STR_LITERAL("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"));
  put_line(w, DSC_STR_LITERAL("Sec-WebSocket-Key"), dsc_str_of(key));
  if (request->protocols) put_line(w, DSC_STR_LITERAL("Sec-WebSocket-Protocol"), dsc_str_of(request->protocols));
  for (size_t i = 0; headers && i < headers->count; i++)
    if (is_passed_on(headers->items[i].name)) put_line(w, headers->items[i].name, headers->items[i].value);
  w->name = request->secret_name;
  bool read = !request->secret_name || dsc_secret_use(request->secret, put_secret, w);
  put(w, DSC_STR_LITERAL("\r\n"));
  return read;
}

static dsc_err send_block(dsc_ws_conn *conn, dsc_str block) {
  if (!conn->session) return dsc_buf_add_str(&conn->out, block);
  dsc_why why;
  return dsc_tls_session_write(conn->session, block, &conn->out, &why);
}

void dsc_ws_greet_accept_key(char accept[32], const char *key) {
  char text[96];
  uint8_t digest[20] = {0};
  int n = snprintf(text, sizeof text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
  dsc_tls_sha1(digest, (dsc_str){text, (size_t)n});
  dsc_tls_base64(accept, digest, sizeof digest);
}

dsc_err dsc_ws_greet(dsc_ws_conn *conn) {
  uint8_t random[16];
  char key[32];
  writer w = {0};
  if (getrandom(random, sizeof random, 0) != sizeof random) return DSC_EIO;
  dsc_tls_base64(key, random, sizeof random);
  dsc_ws_greet_accept_key(conn->accept, key);
  if (!put_request(&w, conn, key)) return DSC_EIO;
  size_t size = w.n;
  char *block = dsc_mem_alloc(size);
  if (!block) return DSC_ENOMEM;
  w = (writer){.p = block};
  dsc_err err = put_request(&w, conn, key) && w.n == size ? send_block(conn, (dsc_str){block, size}) : DSC_EIO;
  dsc_secret_wipe(block, size);
  dsc_mem_free(block);
  return err;
}

/* ------------------------------------------------------------- the answer */

static dsc_ws_greeted bad(dsc_ws_conn *conn, const char *what) {
  dsc_why why; /* shows control characters as '?' */
  conn->answer.err = dsc_fail(&why, DSC_EPROTOCOL, "%s broke the WebSocket handshake: %s", conn->request.addr, what);
  snprintf(conn->answer.why, sizeof conn->answer.why, "%s", why.text);
  return DSC_WS_GREET_BAD;
}

static dsc_ws_greeted bad_memory(dsc_ws_conn *conn) {
  conn->answer.err = DSC_ENOMEM;
  conn->answer.ours = true;
  snprintf(conn->answer.why, sizeof conn->answer.why, "out of memory for the answer of %s", conn->request.addr);
  return DSC_WS_GREET_BAD;
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/* "HTTP/1.1 101 Switching Protocols" */
static bool parse_status(dsc_http_answer *answer, dsc_str line) {
  const char *p = line.p;
  if (line.n < 12 || memcmp(p, "HTTP/1.", 7) != 0 || !is_digit(p[7]) || p[8] != ' ') return false;
  if (!is_digit(p[9]) || !is_digit(p[10]) || !is_digit(p[11]) || (line.n > 12 && p[12] != ' ')) return false;
  answer->http_major = 1;
  answer->http_minor = p[7] - '0';
  answer->status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
  dsc_str reason = {p + 12, line.n - 12};
  reason = dsc_str_trim(reason);
  snprintf(answer->reason, sizeof answer->reason, "%.*s", DSC_STR_ARG(reason));
  return answer->status >= 100;
}

/* Reads a whole head. Fails: DSC_EPROTOCOL, DSC_ENOMEM. */
static dsc_err parse_head(dsc_http_answer *answer, dsc_str head) {
  dsc_headers_clear(&answer->headers);
  for (bool first = true; head.n; first = false) {
    dsc_str line = dsc_str_cut(&head, '\n');
    if (line.n && line.p[line.n - 1] == '\r') line.n--;
    if (first && !parse_status(answer, line)) return DSC_EPROTOCOL;
    if (first || line.n == 0) continue;
    dsc_str value = line, name = dsc_str_cut(&value, ':');
    if (!value.p || dsc_headers_check_name(name, NULL) != DSC_OK) return DSC_EPROTOCOL;
    value = dsc_str_trim(value);
    if (dsc_headers_check_value(name, value, NULL) != DSC_OK) return DSC_EPROTOCOL;
    if (dsc_headers_add(&answer->headers, name, value)) return DSC_ENOMEM;
  }
  return DSC_OK;
}

/* Returns the only header of that name; `*count` says how many there are. */
static dsc_str only(const dsc_headers *headers, const char *name, size_t *count) {
  dsc_str value = {"", 0};
  *count = 0;
  for (size_t i = 0; i < headers->count; i++) {
    if (!dsc_str_equal_nocase(headers->items[i].name, dsc_str_of(name))) continue;
    value = headers->items[i].value;
    ++*count;
  }
  return value;
}

/* True when one of the headers of that name lists `token`. */
static bool lists(const dsc_headers *headers, const char *name, dsc_str token) {
  for (size_t i = 0; i < headers->count; i++) {
    if (!dsc_str_equal_nocase(headers->items[i].name, dsc_str_of(name))) continue;
    for (dsc_str rest = headers->items[i].value; rest.p;)
      if (dsc_str_equal_nocase(dsc_str_trim(dsc_str_cut(&rest, ',')), token)) return true;
  }
  return false;
}

static bool was_offered(const char *protocols, dsc_str chosen) {
  for (dsc_str rest = dsc_str_of(protocols); rest.p;)
    if (dsc_str_equal(dsc_str_trim(dsc_str_cut(&rest, ',')), chosen)) return true;
  return false;
}

/* RFC 6455, 4.1, what a client checks. */
static dsc_ws_greeted judge(dsc_ws_conn *conn) {
  const dsc_headers *headers = &conn->answer.headers;
  size_t n;
  if (!dsc_str_equal_nocase(only(headers, "Upgrade", &n), DSC_STR_LITERAL("websocket")) || n != 1)
    return bad(conn, "no Upgrade: websocket");
  if (!lists(headers, "Connection", DSC_STR_LITERAL("upgrade"))) return bad(conn, "no Connection: Upgrade");
  if (!dsc_str_equal(only(headers, "Sec-WebSocket-Accept", &n), dsc_str_of(conn->accept)) || n != 1)
    return bad(conn, "a wrong Sec-WebSocket-Accept");
  only(headers, "Sec-WebSocket-Extensions", &n);
  if (n > 0) return bad(conn, "an extension that was not offered");
  dsc_str chosen = only(headers, "Sec-WebSocket-Protocol", &n);
  if (n > 1 || (n == 1 && (!conn->request.protocols || !chosen.n || !was_offered(conn->request.protocols, chosen))))
    return bad(conn, "a subprotocol that was not offered");
  conn->protocol = dsc_mem_strdup(chosen);
  return conn->protocol ? DSC_WS_GREET_OPEN : bad_memory(conn);
}

/* A head is in conn->head. */
static dsc_ws_greeted take_head(dsc_ws_conn *conn) {
  dsc_err err = parse_head(&conn->answer, dsc_buf_str(&conn->head));
  dsc_buf_clear(&conn->head);
  if (err == DSC_ENOMEM) return bad_memory(conn);
  if (err) return bad(conn, "its answer is not HTTP/1.1");
  if (conn->answer.status == 101) return judge(conn);
  if (conn->answer.status > 199) return DSC_WS_GREET_OTHER;
  conn->answer.status = 0; /* 100, 103: more follows */
  return DSC_WS_GREET_MORE;
}

/* True when the head in `buf` ends with an empty line. */
static bool is_whole(const dsc_buf *buf) {
  size_t n = buf->len;
  const char *p = buf->data;
  return (n >= 2 && p[n - 1] == '\n' && p[n - 2] == '\n') ||
         (n >= 3 && p[n - 1] == '\n' && p[n - 2] == '\r' && p[n - 3] == '\n');
}

dsc_ws_greeted dsc_ws_greet_take(dsc_ws_conn *conn, dsc_str *bytes) {
  while (bytes->n) {
    const char *end = memchr(bytes->p, '\n', bytes->n);
    size_t n = end ? (size_t)(end - bytes->p) + 1 : bytes->n;
    dsc_err err = dsc_buf_add(&conn->head, bytes->p, n);
    if (err) return err == DSC_ENOMEM ? bad_memory(conn) : bad(conn, "a head of more than 64 KiB");
    bytes->p += n;
    bytes->n -= n;
    if (!end || !is_whole(&conn->head)) continue;
    dsc_ws_greeted greeted = take_head(conn);
    if (greeted != DSC_WS_GREET_MORE) return greeted;
  }
  /* what is no HTTP at all shall not be waited for */
  if (conn->head.len >= 7 && memcmp(conn->head.data, "HTTP/1.", 7) != 0) return bad(conn, "its answer is not HTTP/1.1");
  return DSC_WS_GREET_MORE;
}
