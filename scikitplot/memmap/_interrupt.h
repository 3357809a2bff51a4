/* _interrupt.h - an exception for the thread that touched a lost page, as soon as the interpreter can raise it.
 *
 * interrupt() runs in the fault handler, in the thread that faulted: that is in the middle of a load or a store to
 * mapped memory, and so holds none of the locks that are taken here (of pending calls, of malloc, of the threads
 * library).  The main thread gets a pending call.  Another thread gets an asynchronous exception, for which the GIL is
 * needed.  If the thread has not got that, waiting for it in the handler might never end: a thread that is started for
 * it raises the exception, and the handler waits for that, but not for ever.  A thread without Python is answered for by
 * the main thread, unless interrupt_by_caller() has said that a method waits for it, and will look at the damage.
 */
#ifndef SCIKITPLOT_MEMMAP_INTERRUPT_H
#define SCIKITPLOT_MEMMAP_INTERRUPT_H

#include <Python.h>
#include <pythread.h>
#include <stdatomic.h>

#include "_platform/fault.h"

enum { MOST_THREADS = 64 }; /* that wait for their exception; for more, the main thread gets it */
enum { BETWEEN_TRIES = 100, MOST_TRIES = 2000 }; /* microseconds, and how often a thread looks whether it was told */
static PyThread_type_lock never; /* given up: waiting for it is a sleep on every system */

#if PY_VERSION_HEX < 0x030D0000
#define PyThreadState_GetUnchecked _PyThreadState_UncheckedGet
#endif

static PyObject *interrupt_class; /* raised without arguments: it asks interrupt_report() */
static _Atomic(unsigned long) main_thread; /* 0 until it has made its first pending call */
static _Atomic(int) main_is_wanted, main_is_called;
static _Atomic(unsigned long) waiting[MOST_THREADS];

static Py_tss_t caller_raises = Py_tss_NEEDS_INIT;

static atomic_flag report_is_in_use = ATOMIC_FLAG_INIT;
static fault_report last_report;

static fault_report interrupt_report(void)
{
    while (atomic_flag_test_and_set(&report_is_in_use)) {}
    fault_report report = last_report;
    atomic_flag_clear(&report_is_in_use);
    return report;
}

static int know_main(void *unused)
{
    (void)unused;
    main_thread = PyThread_get_thread_ident();
    return 0;
}

static int raise_in_main(void *unused)
{
    (void)unused;
    main_is_called = 0;
    if (!atomic_exchange(&main_is_wanted, 0)) return 0; /* a method has raised it meanwhile */
    PyErr_SetNone(interrupt_class);
    return -1;
}

static void call_main(void)
{
    main_is_wanted = 1;
    if (!atomic_exchange(&main_is_called, 1) && Py_AddPendingCall(raise_in_main, NULL)) main_is_called = 0;
}

/* CPython 3.11 hangs in a child that was forked while another thread was making a thread state, which takes no GIL.  Forks
 * may be under way in several threads: one can lose the GIL between its hooks and the fork itself. */
static _Atomic(int) forks; /* -1: a thread state is being made, and forks wait for that */
static void fork_begins(void)
{
    for (int seen = 0; !atomic_compare_exchange_weak(&forks, &seen, seen + 1);)
        if (seen < 0) seen = 0;
}
static void fork_is_over(void) { atomic_fetch_sub(&forks, 1); }

static void leave_line(unsigned long thread)
{
    for (int i = 0; i < MOST_THREADS; i++) {
        unsigned long same = thread;
        atomic_compare_exchange_strong(&waiting[i], &same, 0);
    }
}

/* CPython ends the thread in the middle, when it ends itself: what AddressSanitizer puts on the stack would stay there. */
__attribute__((no_sanitize("address"))) static void raise_in_threads(void *unused)
{
    (void)unused;
    if (!Py_IsInitialized()) return;
    for (int none = 0; !atomic_compare_exchange_weak(&forks, &none, -1);) none = 0;
    PyThreadState *state = PyThreadState_New(PyInterpreterState_Main());
    forks = 0;
    if (!state) {
        call_main();
        return;
    }
    PyEval_RestoreThread(state);
    for (int i = 0; i < MOST_THREADS; i++) {
        unsigned long thread = waiting[i];
        if (!thread) continue;
        if (!PyThreadState_SetAsyncExc(thread, interrupt_class)) call_main();
        leave_line(thread); /* last: it goes on then */
    }
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
}

static int is_waiting(unsigned long thread)
{
    for (int i = 0; i < MOST_THREADS; i++)
        if (waiting[i] == thread) return 1;
    return 0;
}

/* Returns whether the thread waits now: 1, 2 if it did before, 0 if there is no place. */
static int line_up(unsigned long thread)
{
    if (is_waiting(thread)) return 2;
    for (int i = 0; i < MOST_THREADS; i++) {
        unsigned long nobody = 0;
        if (atomic_compare_exchange_strong(&waiting[i], &nobody, thread)) return 1;
    }
    return 0;
}

/* What this thread meets of one mapping, until it says NULL. */
static void interrupt_by_caller(fault_guard *guard) { PyThread_tss_set(&caller_raises, guard); }

static void interrupt(fault_guard *guard)
{
    if (PyThread_tss_get(&caller_raises) == guard) return;
    unsigned long thread = PyThread_get_thread_ident();
    while (atomic_flag_test_and_set(&report_is_in_use)) {}
    fault_describe(guard, &last_report);
    atomic_flag_clear(&report_is_in_use);
    PyThreadState *state = PyGILState_GetThisThreadState();
    int place = 0;
    /* the main thread may be waiting for a thread without Python, and go on with its result at once */
    if (state && thread != main_thread) {
        if (state == PyThreadState_GetUnchecked() && PyThreadState_SetAsyncExc(thread, interrupt_class)) return;
        place = line_up(thread);
    }
    if (place == 1 && PyThread_start_new_thread(raise_in_threads, NULL) == PYTHREAD_INVALID_THREAD_ID) {
        leave_line(thread);
        place = 0;
    }
    if (!place) call_main();
    /* nobody shall see what the thread makes of the zeros before it is told; but who has the GIL may keep it for long */
    for (int tries = 0; place && is_waiting(thread) && tries < MOST_TRIES; tries++)
        PyThread_acquire_lock_timed(never, BETWEEN_TRIES, 0);
}

/* A method has raised it in this thread: nothing else needs to. */
static void interrupt_done(void)
{
    unsigned long thread = PyThread_get_thread_ident();
    if (thread == main_thread) main_is_wanted = 0;
    else if (PyThreadState_Get()->async_exc == interrupt_class) PyThreadState_SetAsyncExc(thread, NULL);
    leave_line(thread);
}

/* At import, and in the child after a fork. */
static void interrupt_set_up(PyObject *raised)
{
    PyThread_tss_create(&caller_raises);
    never = PyThread_allocate_lock();
    PyThread_acquire_lock(never, 1);
    Py_XSETREF(interrupt_class, Py_NewRef(raised));
    main_is_called = main_is_wanted = 0;
    main_thread = 0;
    Py_AddPendingCall(know_main, NULL); /* `threading` knows it too, and takes long to import */
    for (int i = 0; i < MOST_THREADS; i++) waiting[i] = 0;
    atomic_flag_clear(&report_is_in_use);
    forks = 0;
}

#endif
