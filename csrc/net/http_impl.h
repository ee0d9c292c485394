/*
** http_impl.h - what the http*.c files share, and nobody else: libcurl is spoken to in these files only.
**
**     http.c         a client's life, and an attempt's: look-up, waiting, running, ready, delivered
**     http_watch.c   curl's sockets and time-outs on the loop
**     http_easy.c    prepared easy handles: constant options once, per attempt what differs; header lines, the secret
**                    among them
**     http_wire.c    plain or TLS, HTTP/1.1 or 2, the URL and where it leads
**     http_answer.c  curl's callbacks that build the answer
**     http_flow.c    bodies in pieces, both ways: pauses, notes to the owner, the watch for silence
**     http_again.c   what is sent a second time, by curl or by us, and what never is
**     http_judge.c   what curl's result means in our words
**
** Everything here belongs to the loop's thread.
*/
#ifndef DSC_NET_HTTP_IMPL_H
#define DSC_NET_HTTP_IMPL_H

#include <curl/curl.h>

#include "base/addr.h"
#include "base/list.h"
#include "net/http.h"

#define DSC_HTTP_BUCKETS 64 /* of watches, by descriptor */

typedef enum dsc_http_phase {
  DSC_HTTP_IDLE,     /* in http->idle */
  DSC_HTTP_LOOKUP,   /* in http->busy, a question is open */
  DSC_HTTP_WAITING,  /* in http->waiting, for one of the connections */
  DSC_HTTP_RUNNING,  /* in http->busy, curl has it */
  DSC_HTTP_READY,    /* in http->ready */
  DSC_HTTP_DELIVERED /* in no list, inside `done` */
} dsc_http_phase;

typedef enum dsc_http_mode { DSC_HTTP_NO_MODE, DSC_HTTP_GET, DSC_HTTP_HEAD, DSC_HTTP_POST } dsc_http_mode;

struct dsc_http {
  dsc_loop *loop;
  dsc_resolver *resolver;
  CURLM *multi;
  CURLSH *share; /* TLS sessions of all handles */
  dsc_timer *curl_timer;
  dsc_timer *settler; /* goes on with what http_watch.c's settle() left */
  dsc_timer *bell;    /* delivers what became ready outside a callback of the loop */
  dsc_link busy, waiting, ready, idle;
  dsc_link noted;        /* attempts with something to tell before they end, by note_link */
  size_t active;         /* in any phase but idle */
  size_t running;        /* in curl's hands, each with a connection of its own */
  size_t streams;        /* in curl's hands over HTTP/2 */
  size_t waiting_shared; /* of those that wait: over HTTP/2 */
  size_t sockets;        /* open */
  size_t idle_count;
  bool in_send;   /* completions must wait for the bell */
  bool h2c_moved; /* bytes came over HTTP/2 without TLS since curl was last asked for more */
  bool due;       /* curl wants to run at once, and its timer was not started for it */
  dsc_link watches[DSC_HTTP_BUCKETS];
};

struct dsc_http_attempt {
  dsc_link link;
  dsc_http *http;
  dsc_http_phase phase;
  CURL *easy;
  dsc_http_request request;
  dsc_http_done done;
  void *ud;
  uint64_t deadline_ms;
  dsc_resolve *question;
  dsc_timer *timer; /* made when first needed: look-up and waiting; curl keeps its own time */
  /* what is sent; the lines hold the secret and are wiped */
  char *lines;
  size_t lines_len, lines_cap;
  struct curl_slist *nodes;
  size_t nodes_cap;
  struct curl_slist resolve_node;
  char resolve_text[DSC_ADDR_MAX + DSC_RESOLVE_MAX_ADDRS * 51];
  bool resolve_set;
  struct curl_slist connect_node; /* where a URL that does not name the node leads */
  char connect_text[2 + DSC_ADDR_MAX];
  /* what was seen */
  dsc_http_answer answer;
  dsc_buf body;
  size_t header_bytes;
  bool in_block, headers_done;
  dsc_err broke;     /* one of our callbacks refused: why */
  const char *cause; /* goes with it, static */
  int socket_errno;  /* no socket could be made */
  unsigned calls;    /* of the prerequisite callback, in this run of curl's */
  bool sent, replaced, restart;
  bool opened;                 /* a socket was made for it */
  bool fresh;                  /* the connection it was sent on was made for it */
  bool declined;               /* the node said that it did not begin with it */
  bool lowered;                /* the node wants it over HTTP/1.1 */
  bool worn;                   /* curl remembers things about the handle that must not reach another attempt */
  int own_port;                /* of the connection it was sent on */
  int64_t stream, last_stream; /* its number over HTTP/2, the last one the node works on; -1: not known */
  char curl_text[CURL_ERROR_SIZE];
  /* bodies in pieces */
  dsc_link note_link; /* in http->noted, or in none */
  bool opened_noted, moved_noted;
  bool recv_paused, send_paused; /* curl waits for us */
  bool source_failed;
  size_t body_at;           /* of a stream: how much of `body` was read */
  uint64_t given, received; /* bytes of a source, of the decoded body */
  int64_t to_receive;       /* -1: not known */
  uint64_t heard_ms;        /* when the node last did something */
  /* what the handle is set to */
  CURLU *url; /* curl borrows it */
  char set_addr[DSC_ADDR_MAX];
  char set_method[24];
  dsc_http_mode set_mode;
  long set_timeout, set_connect_timeout;
  bool set_fresh;
  bool set_http2, set_told, set_alone;
  long set_version;
  bool set_forbid;  /* its connection is closed after this run */
  uint64_t set_tls; /* 0: plain */
};

/* True when the attempt speaks HTTP/2 without TLS. Loop thread. */
static inline bool dsc_http_is_h2c(const dsc_http_attempt *attempt) {
  return attempt->request.http2 && !attempt->request.tls;
}

/* True when it must have a connection of its own: with libcurl 7.88 a stream of HTTP/2 that nobody reads either stalls
** the others on its connection or fills the memory with 32 MiB. Loop thread. */
static inline bool dsc_http_is_alone(const dsc_http_attempt *attempt) {
  return attempt->request.http2 && attempt->request.flow && attempt->request.flow->stream;
}

/* http_watch.c: prepares the multi handle, its timer, and the watches. Fails: DSC_ENOMEM, DSC_EIO. Loop thread. */
dsc_err dsc_http_watch_init(dsc_http *http);

/* Closes the multi handle with all connections. The easy handles must be out of it. Loop thread. */
void dsc_http_watch_fini(dsc_http *http);

/* Lets curl do what is due now, without waiting for its timer. Loop thread. */
void dsc_http_watch_kick(dsc_http *http);

/* Starts curl's timer for what is due at once and was not done by a kick. Loop thread. */
void dsc_http_watch_rearm(dsc_http *http);

/* Notes that the connection with that port of ours speaks HTTP/2: what can be read from it is for curl. Loop thread. */
void dsc_http_watch_set_http2(dsc_http *http, int port);

/* True when the connection with that port of ours is known to speak HTTP/2. Loop thread. */
bool dsc_http_watch_is_http2(dsc_http *http, int port);

/* True when there is a connection to `addr` that speaks HTTP/2 without TLS. Loop thread. */
bool dsc_http_watch_has_h2c(const dsc_http *http, const char *addr);

/* True when the idle connection with that port of ours has something to read, so that it must not be used again. Loop
** thread. */
bool dsc_http_watch_is_spoilt(dsc_http *http, int port);

/* curl's callback for making a socket; ud: the attempt. Loop thread. */
curl_socket_t dsc_http_watch_open(void *ud, curlsocktype purpose, struct curl_sockaddr *addr);

/* curl's callback for closing one; ud: the client. Loop thread. */
int dsc_http_watch_close(void *ud, curl_socket_t fd);

/* http.c: takes finished transfers from curl and delivers them (or has it done by the bell). Loop thread. */
void dsc_http_pump(dsc_http *http);

/* Takes a running attempt from curl and makes it ready (or begins it anew); a pump delivers it. Loop thread. */
void dsc_http_end(dsc_http_attempt *attempt, CURLcode result);

/* http_easy.c: prepares what all handles share; once, after curl_global_init(). Any thread. */
void dsc_http_easy_init(void);

/* Makes an attempt with an easy handle on which everything constant is set. Fails: NULL: out of memory. Loop thread. */
dsc_http_attempt *dsc_http_easy_new(dsc_http *http);

/* Frees an attempt that is in no list. Loop thread. */
void dsc_http_easy_free(dsc_http_attempt *attempt);

/* Sets what differs for this request; `found` holds the addresses of a name, NULL for a literal. Fails: DSC_EINVALID,
** DSC_ENOMEM, with a sentence in the answer. Loop thread. */
dsc_err dsc_http_easy_prepare(dsc_http_attempt *attempt, const dsc_resolve_answer *found);

/* Sets the time-outs to what is left. Loop thread. */
void dsc_http_easy_set_time(dsc_http_attempt *attempt);

/* http_wire.c: sets on a new handle what is the same for all. Loop thread. */
void dsc_http_wire_init(dsc_http_attempt *attempt);

/* Sets the URL, where it leads, the version and TLS; `found` holds the addresses of a name, NULL for a literal. Loop
** thread. Fails: curl's code. */
CURLcode dsc_http_wire_set(dsc_http_attempt *attempt, const dsc_resolve_answer *found);

/* Sets the version: of HTTP/2 without TLS it depends on whether a fresh connection is forced. Loop thread. */
void dsc_http_wire_set_version(dsc_http_attempt *attempt);

/* Writes the Host that is to be sent when the user gave none, "" if curl does that by itself. Loop thread. */
void dsc_http_wire_host(const dsc_http_attempt *attempt, char *host, size_t size);

/* Forces (or not) a fresh connection. Loop thread. */
void dsc_http_easy_set_fresh(dsc_http_attempt *attempt, bool fresh);

/* Wipes the header lines. Loop thread. */
void dsc_http_easy_wipe(dsc_http_attempt *attempt);

/* http_answer.c: makes ready for a new answer. Loop thread. */
void dsc_http_answer_reset(dsc_http_attempt *attempt);

/* curl's callback for header lines; ud: the attempt. Loop thread. */
size_t dsc_http_answer_header(char *bytes, size_t size, size_t count, void *ud);

/* curl's callback for decoded bytes of the body; ud: the attempt. Loop thread. */
size_t dsc_http_answer_body(char *bytes, size_t size, size_t count, void *ud);

/* http_again.c: sets on a new handle what is the same for all. Loop thread. */
void dsc_http_again_init(dsc_http_attempt *attempt);

/* Sets what differs for this request. Loop thread. */
void dsc_http_again_set(dsc_http_attempt *attempt);

/* Forgets what was seen in a run of curl's. Loop thread. */
void dsc_http_again_reset(dsc_http_attempt *attempt);

/* True when curl may make a connection: for the first sending, or for another one that is allowed. Loop thread. */
bool dsc_http_again_may_connect(dsc_http_attempt *attempt);

/* Has its connection closed after this run. Loop thread. */
void dsc_http_again_forbid(dsc_http_attempt *attempt);

/* True when the attempt that curl ended with `result` is to run once more, on a fresh connection. Loop thread. */
bool dsc_http_again_is_due(dsc_http_attempt *attempt, CURLcode result);

/* http_flow.c: makes ready for a new attempt. Loop thread. */
void dsc_http_flow_reset(dsc_http_attempt *attempt);

/* True when the body of the answer is fetched by dsc_http_read(). Loop thread. */
bool dsc_http_flow_is_stream(const dsc_http_attempt *attempt);

/* True when the request's body is read in pieces. Loop thread. */
bool dsc_http_flow_has_source(dsc_http_attempt *attempt);

/* Sets the callbacks of a new handle. Loop thread. */
void dsc_http_flow_set_constants(dsc_http_attempt *attempt);

/* Sets the request's body, flat or in pieces. Loop thread. Fails: curl's code. */
CURLcode dsc_http_flow_set_body(dsc_http_attempt *attempt);

/* Takes the request's body back to its beginning. Loop thread. Returns false when it can't. */
bool dsc_http_flow_rewind(dsc_http_attempt *attempt);

/* Notes that the final headers are there. Loop thread. */
void dsc_http_flow_note_opened(dsc_http_attempt *attempt);

/* True when `n` more bytes of the body may be taken; else curl must be told to pause. Loop thread. */
bool dsc_http_flow_has_room(dsc_http_attempt *attempt, size_t n);

/* Counts bytes that were added to the body. Loop thread. */
void dsc_http_flow_took(dsc_http_attempt *attempt, size_t n);

/* Puts what a stream's reader did not read into the ended answer. Loop thread. */
void dsc_http_flow_finish(dsc_http_attempt *attempt);

/* Tells the owners what was noted. Loop thread, inside its run. */
void dsc_http_flow_deliver(dsc_http *http);

/* Begins to watch an opened stream for silence. Loop thread. */
void dsc_http_flow_watch(dsc_http_attempt *attempt);

/* The timer of a running stream has fired: true when its time is over; else it goes on, watched if need be. Loop
** thread. */
bool dsc_http_flow_is_late(dsc_http_attempt *attempt);

/* http_judge.c: turns curl's result into the answer. Loop thread. */
void dsc_http_judge(dsc_http_attempt *attempt, CURLcode result);

/* Ends the answer: no connection was free for all its time. Loop thread. */
void dsc_http_judge_crowded(dsc_http_attempt *attempt);

/* Ends the answer with an error and a sentence, in which the node is named. Loop thread. */
__attribute__((format(printf, 3, 4))) void dsc_http_judge_fail(dsc_http_attempt *attempt, dsc_err err,
                                                               const char *format, ...);

#endif
