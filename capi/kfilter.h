/* libkfilter: compiles, loads and sweeps kfilter filters.
 *
 * A handle belongs to one thread at a time. Every function that can fail returns a status;
 * kfilter_error() then says why. Texts are UTF-8 unless noted, and end with a zero.
 */
#ifndef KFILTER_H
#define KFILTER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A filter that can be swept. */
typedef struct kfilter kfilter;

enum kfilter_status {
    KFILTER_OK = 0,
    KFILTER_NOTHING_MATCHED = 1, /* kfilter_poll: the time was up */
    KFILTER_BAD_INPUT = 2,       /* the filter, object, name or parameter is not valid */
    KFILTER_CANNOT_RUN = 3,      /* the host cannot load or run it */
    KFILTER_NO_PRIVILEGE = 4
};

enum kfilter_host {
    KFILTER_HOST_AUTO = 0, /* the kernel where it takes the filter, else its module, else the
                            * VM over /proc */
    KFILTER_HOST_BPF = 1,
    KFILTER_HOST_VM = 2,
    KFILTER_HOST_MODULE = 3 /* the VM in the kernel, where kfilter.ko is loaded */
};

/* What a field's value is made of. */
enum kfilter_kind {
    KFILTER_INTEGER = 0, /* kfilter_integer() */
    KFILTER_TEXT = 1,    /* kfilter_text(): bytes, not always UTF-8 */
    KFILTER_OBJECT = 2   /* no accessor: two uint64_t in the record, device and inode */
};

/* Counters of the last sweep. */
struct kfilter_stats {
    uint64_t visited;    /* rows looked at */
    uint64_t matched;    /* rows that matched */
    uint64_t unreadable; /* rows that could not be judged */
    uint64_t warming;    /* rows whose history is too short */
    uint64_t dropped;    /* records that found no room */
    uint64_t took_ns;    /* how long the sweep took */
    uint64_t started_ns; /* CLOCK_BOOTTIME when it began */
};

/* The library's version. */
const char *kfilter_version(void);

/* Why the last call of this thread failed; "" when none has. Valid until the next call. */
const char *kfilter_error(void);

/* Loads a filter of the file `path`: source text, which is compiled, or an object. `filter` may
 * be NULL when the file has one only. `params` is NULL, or an array of "name=value" texts
 * that ends with NULL. */
int kfilter_load(const char *path, const char *filter, const char *const *params,
                 int host, kfilter **out);

/* The same with the source text itself. */
int kfilter_load_text(const char *text, const char *filter, const char *const *params,
                      int host, kfilter **out);

/* Opens a filter that `kfilter load` keeps in the kernel. */
int kfilter_open(const char *name, kfilter **out);

/* Lets it go; NULL is allowed. A filter that was opened stays loaded. */
void kfilter_close(kfilter *handle);

/* Sweeps once. The records of the sweep before are gone. */
int kfilter_sweep(kfilter *handle);

/* Sweeps every `interval_ms` until something matches; KFILTER_NOTHING_MATCHED after
 * `timeout_ms`, never when that is negative.
 *
 * An opened filter that sweeps by itself (`kfilter load --every`) is not swept: the call sleeps
 * until the kernel has found something, and nothing wakes it before; `interval_ms` is not used.
 * A signal ends it with KFILTER_NOTHING_MATCHED. When the filter is unloaded, or replaced by one
 * with other records, it returns KFILTER_BAD_INPUT at once. The records stay in the kernel until
 * the next call: what a killed program had not finished, the next reader gets. One program reads
 * what a filter finds; a second one gets KFILTER_BAD_INPUT. */
int kfilter_poll(kfilter *handle, int interval_ms, int timeout_ms);

/* A descriptor that poll(2) calls readable when a filter that sweeps by itself has found
 * something, or is gone: then call kfilter_poll(handle, 0, 0) until it returns something else than
 * KFILTER_OK. It is the handle's, and another one after the filter was replaced. -1: no such
 * filter; kfilter_error() says why. */
int kfilter_fd(kfilter *handle);

/* The next record of the last sweep, NULL after the last one. It is laid out as the struct in
 * the header that `kfilter compile --emit header` writes, and valid until the next sweep. */
const void *kfilter_next(kfilter *handle, size_t *size);

/* Counters of the last sweep. */
int kfilter_stats(const kfilter *handle, struct kfilter_stats *out);

/* The fields of a record, by their place. */
size_t kfilter_fields(const kfilter *handle);
const char *kfilter_field_name(const kfilter *handle, size_t field); /* NULL: no such field */
const char *kfilter_field_type(const kfilter *handle, size_t field); /* "bytes", "ratio", ... */
int kfilter_field_kind(const kfilter *handle, size_t field);         /* -1: no such field */

/* A field of the record that kfilter_next() gave last. Returns 1 and sets `value`, or 0 when the
 * value is not known. Ratios and amounts a second are in millionths, durations in ns. */
int kfilter_integer(const kfilter *handle, size_t field, int64_t *value);

/* Copies a text into `buffer` with a zero at its end, cut to `size`; the length that it has,
 * or -1 when it is not known. */
long kfilter_text(const kfilter *handle, size_t field, char *buffer, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* KFILTER_H */
