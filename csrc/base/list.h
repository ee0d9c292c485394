/*
** list.h - an intrusive doubly linked ring; the head is a link too.
**
** No allocation, no lock: whoever owns the head owns the order, the elements belong to others.
*/
#ifndef DSC_BASE_LIST_H
#define DSC_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct dsc_link {
  struct dsc_link *prev;
  struct dsc_link *next;
} dsc_link;

/* The element that a link is a member of. */
#define DSC_LIST_ENTRY(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

/* Makes an empty head, or a link that is in no list. Owner's thread. */
static inline void dsc_list_init(dsc_link *link) {
  link->prev = link->next = link;
}

/* True for an empty head and for a link that is in no list. Owner's thread. */
static inline bool dsc_list_empty(const dsc_link *head) {
  return head->next == head;
}

/* Puts `link` (in no list) before `head`: at the end. Owner's thread. */
static inline void dsc_list_push(dsc_link *head, dsc_link *link) {
  link->prev = head->prev;
  link->next = head;
  head->prev->next = link;
  head->prev = link;
}

/* Takes `link` out of whatever list it is in; harmless when in none. Owner's thread. */
static inline void dsc_list_remove(dsc_link *link) {
  link->prev->next = link->next;
  link->next->prev = link->prev;
  dsc_list_init(link);
}

/* Takes the first link out. Owner's thread. Fails: NULL when empty. */
static inline dsc_link *dsc_list_pop(dsc_link *head) {
  dsc_link *first = head->next;
  if (first == head) return NULL;
  dsc_list_remove(first);
  return first;
}

/* Moves all links of `from` to the end of `to`. Owner's thread. */
static inline void dsc_list_move(dsc_link *to, dsc_link *from) {
  if (dsc_list_empty(from)) return;
  from->next->prev = to->prev;
  to->prev->next = from->next;
  from->prev->next = to;
  to->prev = from->prev;
  dsc_list_init(from);
}

#endif
