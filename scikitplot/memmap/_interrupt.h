/* _interrupt.h - raise an exception in the thread that touched a lost page, as soon as the interpreter can.
 *
 * interrupt() runs in the fault handler, in the thread that faulted.  That thread was reading or writing mapped memory,
 * so it holds none of the locks that are taken here (of pending calls, of malloc, of the threads library).
 *
 *   - The main thread gets a pending call that raises.
 *   - Another Python thread that holds the GIL gets an asynchronous exception at once.
 *   - A Python thread without the GIL cannot wait for it in the handler: the wait might never end.  It registers in
 *     `waiting`, and a helper thread takes the GIL and sets its exception.  The handler waits for that, with a limit.
 *   - For a thread without Python the main thread raises, unless interrupt_by_caller() has announced that a method
 *     waits for the work and checks the damage itself.
 */
#ifndef SCIKITPLOT_MEMMAP_INTERRUPT_H
#define SCIKITPLOT_MEMMAP_INTERRUPT_H

#include <Python.h>
#include <pythread.h>
#include <stdatomic.h>

#include "_platform/fault.h"

enum { MOST_THREADS = 64 }; /* that can wait for their exception; for more, the main thread raises */
#ifdef Py_GIL_DISABLED /* no thread waits for this one with the GIL; only a busy machine takes long */
enum { BETWEEN_TRIES = 100, MOST_TRIES = 100000 }; /* microseconds; together 10 s */
#else
enum { BETWEEN_TRIES = 100, MOST_TRIES = 2000 }; /* together 0.2 s */
#endif
static PyThread_type_lock never; /* never released: waiting for it is a sleep on every system */

#if PY_VERSION_HEX < 0x030D0000
#define PyThreadState_GetUnchecked _PyThreadState_UncheckedGet
#endif

static PyObject *interrupt_class; /* raised without arguments; it reads interrupt_report() */
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

static int remember_main(void *unused)
{
    (void)unused;
    main_thread = PyThread_get_thread_ident();
    return 0;
}

static int raise_in_main(void *unused)
{
    (void)unused;
    main_is_called = 0;
    if (!atomic_exchange(&main_is_wanted, 0)) return 0; /* a method has raised it already */
    PyErr_SetNone(interrupt_class);
    return -1;
}

static void call_main(void)
{
    main_is_wanted = 1;
    if (!atomic_exchange(&main_is_called, 1) && Py_AddPendingCall(raise_in_main, NULL)) main_is_called = 0;
}

/* CPython 3.11 hangs in a child that was forked while another thread was making a thread state, which needs no GIL.
 * Several threads may fork at the same time: one can lose the GIL between its hooks and the fork itself. */
static _Atomic(int) forks; /* in progress; -1: a thread state is being made, and forks wait for it */
static void fork_begins(void)
{
    for (int seen = 0; !atomic_compare_exchange_weak(&forks, &seen, seen + 1);)
        if (seen < 0) seen = 0;
}
static void fork_is_over(void) { atomic_fetch_sub(&forks, 1); }

static void stop_waiting(unsigned long thread)
{
    for (int i = 0; i < MOST_THREADS; i++) {
        unsigned long same = thread;
        atomic_compare_exchange_strong(&waiting[i], &same, 0);
    }
}

/* At exit CPython ends this thread in the middle, and what AddressSanitizer puts on its stack would stay there. */
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
        stop_waiting(thread); /* last: the thread continues then */
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

/* Returns 1 if the thread waits now, 2 if it did before, 0 if there is no place left. */
static int start_waiting(unsigned long thread)
{
    if (is_waiting(thread)) return 2;
    for (int i = 0; i < MOST_THREADS; i++) {
        unsigned long nobody = 0;
        if (atomic_compare_exchange_strong(&waiting[i], &nobody, thread)) return 1;
    }
    return 0;
}

/* Until it is called with NULL, this thread is not interrupted for pages of this mapping. */
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
    /* the main thread may be waiting for a thread without Python, and use its result at once */
    if (state && thread != main_thread) {
        if (state == PyThreadState_GetUnchecked() && PyThreadState_SetAsyncExc(thread, interrupt_class)) return;
        place = start_waiting(thread);
    }
    if (place == 1 && PyThread_start_new_thread(raise_in_threads, NULL) == PYTHREAD_INVALID_THREAD_ID) {
        stop_waiting(thread);
        place = 0;
    }
    if (!place) call_main();
    /* no other thread should see results made of the zeros first; but a thread may keep the GIL for long */
    for (int tries = 0; place && is_waiting(thread) && tries < MOST_TRIES; tries++)
        PyThread_acquire_lock_timed(never, BETWEEN_TRIES, 0);
}

/* A method raises in this thread: cancel the interrupt. */
static void interrupt_done(void)
{
    unsigned long thread = PyThread_get_thread_ident();
    if (thread == main_thread) main_is_wanted = 0;
    else if (PyThreadState_Get()->async_exc == interrupt_class) PyThreadState_SetAsyncExc(thread, NULL);
    stop_waiting(thread);
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
    Py_AddPendingCall(remember_main, NULL); /* asking `threading` would mean a slow import */
    for (int i = 0; i < MOST_THREADS; i++) waiting[i] = 0;
    atomic_flag_clear(&report_is_in_use);
    forks = 0;
}

#endif
