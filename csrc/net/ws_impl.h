/*
** ws_impl.h - what the ws*.c files share, and nobody else.
**
**     ws.c        a client's life, and a connection's: look-up, connecting, TLS, handshake, open, closing, over
**     ws_flow.c   an open connection: what comes, keep-alive, close frames, the end
**     ws_send.c   what is sent
**     ws_greet.c  the opening handshake: the request, the answer judged
**     ws_frame.c  frames (pure)
**     ws_line.c   a TCP connection on the loop
**
** The protocol is our own: libwebsockets 4.1.6, the library at hand, can't be used by a client that must keep to
** RFC 6455: it takes masked frames; where it finds an error it hangs up without a close frame and tells its user no
** more than that the connection is gone; it hides the close frame that answers ours, and turns the codes 1012 to 1014
** into 1002; it drops a ping that comes before the last one was answered; of a refusal it shows known headers only. Its
** own connect() leaves a libuv handle behind when the connection is refused.
**
** Everything here belongs to the loop's thread.
*/
#ifndef DSC_NET_WS_IMPL_H
#define DSC_NET_WS_IMPL_H

#include "base/addr.h"
#include "base/list.h"
#include "net/ws.h"
#include "net/ws_frame.h"

#define DSC_WS_HEAD_BYTES_MAX (64 * 1024)   /* of the handshake's answer */
#define DSC_WS_ITEM_COST      ((size_t)128) /* of a message that waits, besides its bytes: empty ones fill queues too */

typedef struct dsc_ws_lines dsc_ws_lines; /* all lines of a loop */
typedef struct dsc_ws_line dsc_ws_line;

/* Called inside the loop. None of them frees the line; dsc_ws_line_cut() may be called in each. */
typedef struct dsc_ws_line_events {
  void (*connected)(void *ud);
  void (*received)(void *ud, dsc_str bytes); /* borrowed */
  void (*writable)(void *ud);
  void (*lost)(void *ud, int error); /* an errno, 0: the peer hung up; the line is gone */
} dsc_ws_line_events;

/* Makes room for lines on `loop`. Loop thread. Caller owns. Fails: NULL: out of memory. */
dsc_ws_lines *dsc_ws_lines_new(dsc_loop *loop);

/* Cuts what is left and frees; NULL is allowed. Loop thread, outside its run. */
void dsc_ws_lines_free(dsc_ws_lines *lines);

/* Begins to connect to an IP address. Loop thread. `events` is borrowed as long as the line is there. Fails: NULL
** (`*error`: an errno). */
dsc_ws_line *dsc_ws_line_open(dsc_ws_lines *lines, const char *ip, uint16_t port, const dsc_ws_line_events *events,
                              void *ud, int *error);

/* Writes what the kernel takes at once. When it takes less, `writable` follows. Loop thread. Returns the number of
** bytes, -1: the connection is broken (`lost` follows). */
ptrdiff_t dsc_ws_line_write(dsc_ws_line *line, const char *bytes, size_t n);

/* Stops or goes on reading. Loop thread. */
void dsc_ws_line_read(dsc_ws_line *line, bool on);

/* Says that no more is written. Loop thread. */
void dsc_ws_line_finish(dsc_ws_line *line);

/* Closes without a callback; the line is gone. Loop thread, also inside a callback. NULL is allowed. */
void dsc_ws_line_cut(dsc_ws_line *line);

/* ws_greet.c: writes the answer that a handshake with `key` must have (28 characters and a 0). Any thread. */
void dsc_ws_greet_accept_key(char accept[32], const char *key);

typedef enum dsc_ws_phase {
  DSC_WS_LOOKUP,
  DSC_WS_CONNECTING,
  DSC_WS_SECURING, /* TLS */
  DSC_WS_GREETING, /* the opening handshake was sent */
  DSC_WS_OPEN,
  DSC_WS_CLOSING, /* we began the closing handshake */
  DSC_WS_LEAVING, /* everything was said: flush, then wait for the peer to hang up */
  DSC_WS_OVER     /* told, or about to be told */
} dsc_ws_phase;

/* A message that waits, either way. */
typedef struct dsc_ws_item {
  dsc_link link;
  dsc_ws_kind kind;
  char *data; /* owned */
  size_t len, done;
  bool begun; /* its first frame was made */
} dsc_ws_item;

struct dsc_ws {
  dsc_loop *loop;
  dsc_resolver *resolver;
  dsc_ws_lines *lines; /* made at the first connection */
  dsc_link conns;
  size_t count;      /* of those that are not over */
  uint8_t pool[256]; /* random bytes for masks */
  size_t pool_left;
};

struct dsc_ws_conn {
  dsc_link link; /* in ws->conns */
  dsc_ws *ws;
  bool counted;           /* in ws->count */
  dsc_ws_request request; /* its pointers only until opened, but for `addr`, which is the next field */
  char addr[DSC_ADDR_MAX];
  dsc_ws_events events;
  void *ud;
  dsc_ws_phase phase;
  dsc_timer *timer;
  dsc_ws_line *line; /* NULL: none, or lost */
  dsc_tls *tls;      /* a reference */
  dsc_tls_session *session;
  dsc_resolve *question;
  dsc_resolve_answer found;
  size_t next_addr;
  bool node_failed; /* an address did, and it was not our fault: node_error says how, 0: it hung up */
  int node_error;
  uint64_t begin_ms, connect_until_ms, open_until_ms;
  /* the handshake */
  char accept[32];
  dsc_buf head;
  dsc_http_answer answer;
  char *protocol;
  bool sent;                     /* something of the handshake went out */
  bool opened, open_told, wiped; /* the handshake succeeded; the owner knows; the secret is out of `out` */
  /* receiving */
  dsc_ws_reader reader;
  dsc_buf in;   /* bytes that were read but not looked at, while the queue is full */
  dsc_buf part; /* of the message that is coming */
  dsc_link received;
  size_t received_bytes; /* with DSC_WS_ITEM_COST for each */
  bool paused;
  bool gone;                       /* TLS is over behind what is in `in` */
  bool dropping;                   /* the rest of a message of which something was dropped */
  uint64_t heard_ms, ping_sent_ms; /* 0: none is out */
  uint64_t last_look_ms;           /* its time is over: the socket is looked at once more until then; 0: it is not */
  /* sending */
  dsc_link sending;
  size_t sending_bytes, sending_count;
  dsc_buf control; /* whole frames, before anything else */
  dsc_buf out;     /* for the line */
  size_t out_done;
  bool close_wanted, close_sent; /* a close frame waits in `goodbye`; it is in `out` */
  uint8_t goodbye[DSC_WS_CONTROL_MAX];
  uint8_t goodbye_len;
  bool finished;           /* said that no more is written */
  bool starved;            /* a send was refused for want of room */
  uint64_t close_until_ms; /* closing: for the peer's frame; leaving: for its hanging up */
  uint32_t close_wait_ms;
  /* the end */
  dsc_ws_end end;
  bool over_told;
};

/* ws.c: arms the timer for the next time limit. Loop thread. */
void dsc_ws_arm(dsc_ws_conn *conn);

/* ws.c: the opening failed: cuts the line; `opened` tells from the loop. Loop thread. */
__attribute__((format(printf, 3, 4))) void dsc_ws_refuse(dsc_ws_conn *conn, dsc_err err, const char *format, ...);

/* ws.c: the opening came to an answer that is not 101; conn->answer has it. Loop thread. */
void dsc_ws_answer(dsc_ws_conn *conn);

/* ws.c: the open connection is over as conn->end says; `closed` tells from the loop. Loop thread. */
void dsc_ws_finish(dsc_ws_conn *conn);

/* ws_greet.c: writes the request to conn->out. Fails: DSC_ENOMEM, DSC_EIO (the secret can't be read). Loop thread. */
dsc_err dsc_ws_greet(dsc_ws_conn *conn);

typedef enum dsc_ws_greeted {
  DSC_WS_GREET_MORE,
  DSC_WS_GREET_OPEN,
  DSC_WS_GREET_OTHER,
  DSC_WS_GREET_BAD
} dsc_ws_greeted;

/* ws_greet.c: takes bytes of the answer from the front of `*bytes`. OPEN: 101, and all is as it must be; OTHER: another
** status; conn->answer has it. BAD: the answer has err and why. Loop thread. */
dsc_ws_greeted dsc_ws_greet_take(dsc_ws_conn *conn, dsc_str *bytes);

/* ws_flow.c: takes bytes of frames. Loop thread. Returns true when a message became whole. */
bool dsc_ws_flow_take(dsc_ws_conn *conn, dsc_str bytes);

/* ws_flow.c: the peer hung up or the connection broke. Loop thread. */
void dsc_ws_flow_lost(dsc_ws_conn *conn, int error);

/* ws_flow.c: a time limit may have passed. Loop thread. */
void dsc_ws_flow_on_time(dsc_ws_conn *conn, uint64_t now_ms);

/* ws_flow.c: when the next time limit of an open connection is due, UINT64_MAX: none. Loop thread. */
uint64_t dsc_ws_flow_due_ms(const dsc_ws_conn *conn);

/* ws_flow.c: frees what the queues hold. Loop thread. */
void dsc_ws_flow_clear(dsc_ws_conn *conn);

/* ws_send.c: writes what waits and what the kernel takes; in every phase from SECURING on. Loop thread. */
void dsc_ws_send_flush(dsc_ws_conn *conn);

/* ws_send.c: true when a send that was refused would find room now; says it once. Loop thread. */
bool dsc_ws_send_has_room(dsc_ws_conn *conn);

/* ws_send.c: puts a ping or pong before everything else that waits. Loop thread. */
void dsc_ws_send_control(dsc_ws_conn *conn, dsc_ws_opcode opcode, dsc_str data);

/* ws_send.c: forgets the messages that wait. Loop thread. */
void dsc_ws_send_drop(dsc_ws_conn *conn);

/* ws_send.c: takes an item out of its list and frees it. Loop thread. */
void dsc_ws_send_free_item(dsc_ws_item *item);

#endif
