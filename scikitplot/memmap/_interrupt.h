/* _interrupt.h - make the thread that accessed a lost page, or wrote to a read-only map, raise DamagedError.
 *
 * The signal handler calls interrupt_this_thread() in the thread that faulted.  It cannot raise a Python exception, so it
 * schedules one:
 *
 *   the thread                        gets the exception by
 *   --------------------------------  ---------------------------------------------------------------------------------
 *   main                              a pending call (Py_AddPendingCall)
 *   another one that holds the GIL    PyThreadState_SetAsyncExc, called in the handler
 *   another one that does not         PyThreadState_SetAsyncExc, called by a helper thread, which takes the GIL; the
 *                                     handler waits for it, with a limit
 *   not a Python thread               nothing: the main thread raises instead, by a pending call
 *   in interrupt_suppress()           nothing: a method of the map checks the damage afterwards and raises
 *
 * If a helper cannot be started or MAX_WAITING threads wait already, the main thread raises instead.
 *
 * These calls take locks (pending calls, malloc, threads), which is safe in this handler: the thread was interrupted
 * at an access to mapped memory, and no code that holds these locks makes one.
 */
#ifndef SCIKITPLOT_MEMMAP_INTERRUPT_H
#define SCIKITPLOT_MEMMAP_INTERRUPT_H

#include <Python.h>
#include <pythread.h>
#include <stdatomic.h>

#include "_platform/fault.h"

enum { MAX_WAITING = 64 };                          /* threads */
#ifdef Py_GIL_DISABLED /* no thread can wait for this one with the GIL: only a busy machine takes long */
enum { WAIT_STEP_US = 100, MAX_WAIT_STEPS = 100000 }; /* together 10 s */
#else
enum { WAIT_STEP_US = 100, MAX_WAIT_STEPS = 2000 }; /* together 0.2 s */
#endif

#if PY_VERSION_HEX < 0x030D0000
#define PyThreadState_GetUnchecked _PyThreadState_UncheckedGet
#endif

static PyObject *interrupt_class;          /* called without arguments; reads interrupt_report() */
static _Atomic(unsigned long) main_thread; /* 0 until remember_main_thread() has run */
static _Atomic(int) main_must_raise, main_call_pending;
static _Atomic(unsigned long) waiting[MAX_WAITING]; /* threads that wait for a helper; 0: a free entry */
static PyThread_type_lock never_released;           /* acquiring it with a timeout is a portable sleep */

static Py_tss_t suppressed_guard = Py_tss_NEEDS_INIT;

static atomic_flag report_lock = ATOMIC_FLAG_INIT;
static fault_report last_report;

/* Return what the last fault in any map damaged. */
static fault_report interrupt_report(void)
{
    while (atomic_flag_test_and_set(&report_lock)) {}
    fault_report report = last_report;
    atomic_flag_clear(&report_lock);
    return report;
}

static int remember_main_thread(void *unused)
{
    (void)unused;
    main_thread = PyThread_get_thread_ident();
    return 0;
}

static int raise_in_main(void *unused)
{
    (void)unused;
    main_call_pending = 0;
    if (!atomic_exchange(&main_must_raise, 0)) return 0; /* cancelled: a method has raised the error */
    PyErr_SetNone(interrupt_class);
    return -1;
}

static void schedule_in_main(void)
{
    main_must_raise = 1;
    if (!atomic_exchange(&main_call_pending, 1) && Py_AddPendingCall(raise_in_main, NULL)) main_call_pending = 0;
}

/* A child of CPython 3.11 hangs if the fork happened while another thread was creating a thread state, which needs no
 * GIL.  So forks and helpers exclude each other.  Several threads can be forking: one may lose the GIL between its
 * before-fork hooks and the fork. */
static _Atomic(int) forks; /* in progress; -1: a helper is creating its thread state */
static void interrupt_before_fork(void)
{
    for (int seen = 0; !atomic_compare_exchange_weak(&forks, &seen, seen + 1);)
        if (seen < 0) seen = 0;
}
static void interrupt_after_fork(void) { atomic_fetch_sub(&forks, 1); }

static int is_waiting(unsigned long thread)
{
    for (int i = 0; i < MAX_WAITING; i++)
        if (waiting[i] == thread) return 1;
    return 0;
}

static void remove_waiting(unsigned long thread)
{
    for (int i = 0; i < MAX_WAITING; i++) {
        unsigned long same = thread;
        atomic_compare_exchange_strong(&waiting[i], &same, 0);
    }
}

/* Return 1 if the thread was added, 2 if it was there already, 0 if no entry is free. */
static int add_waiting(unsigned long thread)
{
    if (is_waiting(thread)) return 2;
    for (int i = 0; i < MAX_WAITING; i++) {
        unsigned long empty = 0;
        if (atomic_compare_exchange_strong(&waiting[i], &empty, thread)) return 1;
    }
    return 0;
}

/* The helper thread.  At exit CPython may end it inside PyEval_RestoreThread(): AddressSanitizer would never unpoison
 * the stack of an instrumented function. */
__attribute__((no_sanitize("address"))) static void raise_in_waiting(void *unused)
{
    (void)unused;
    if (!Py_IsInitialized()) return;
    for (int none = 0; !atomic_compare_exchange_weak(&forks, &none, -1);) none = 0;
    PyThreadState *state = PyThreadState_New(PyInterpreterState_Main());
    forks = 0;
    if (!state) {
        schedule_in_main();
        return;
    }
    PyEval_RestoreThread(state);
    for (int i = 0; i < MAX_WAITING; i++) {
        unsigned long thread = waiting[i];
        if (!thread) continue;
        if (!PyThreadState_SetAsyncExc(thread, interrupt_class)) schedule_in_main();
        remove_waiting(thread); /* last, because it lets the thread continue */
    }
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
}

/* Do not interrupt this thread for damage to the guarded mapping; NULL ends that. */
static void interrupt_suppress(fault_guard *guard) { PyThread_tss_set(&suppressed_guard, guard); }

/* Called in the fault handler: have this thread raise the error. */
static void interrupt_this_thread(fault_guard *guard)
{
    if (PyThread_tss_get(&suppressed_guard) == guard) return;
    unsigned long thread = PyThread_get_thread_ident();
    while (atomic_flag_test_and_set(&report_lock)) {}
    fault_describe(guard, &last_report);
    atomic_flag_clear(&report_lock);
    PyThreadState *state = PyGILState_GetThisThreadState(); /* NULL: not a Python thread */
    int added = 0;
    if (state && thread != main_thread) {
        int has_gil = state == PyThreadState_GetUnchecked();
        if (has_gil && PyThreadState_SetAsyncExc(thread, interrupt_class)) return;
        added = add_waiting(thread);
    }
    if (added == 1 && PyThread_start_new_thread(raise_in_waiting, NULL) == PYTHREAD_INVALID_THREAD_ID) {
        remove_waiting(thread);
        added = 0;
    }
    /* at once, not by a helper: the main thread may be about to use the result of a thread without Python */
    if (!added) schedule_in_main();
    /* wait, so that the thread computes nothing from the zeros; not for ever, because the GIL's holder may keep it */
    for (int step = 0; added && is_waiting(thread) && step < MAX_WAIT_STEPS; step++)
        PyThread_acquire_lock_timed(never_released, WAIT_STEP_US, 0);
}

/* Cancel this thread's scheduled exception: a method is raising the error. */
static void interrupt_cancel(void)
{
    unsigned long thread = PyThread_get_thread_ident();
    if (thread == main_thread) main_must_raise = 0;
    else if (PyThreadState_Get()->async_exc == interrupt_class) PyThreadState_SetAsyncExc(thread, NULL);
    remove_waiting(thread);
}

/* Initialize at import, and again in a forked child. */
static void interrupt_set_up(PyObject *error_class)
{
    PyThread_tss_create(&suppressed_guard);
    never_released = PyThread_allocate_lock();
    PyThread_acquire_lock(never_released, 1);
    Py_XSETREF(interrupt_class, Py_NewRef(error_class));
    main_call_pending = main_must_raise = 0;
    main_thread = 0;
    Py_AddPendingCall(remember_main_thread, NULL); /* `threading` could tell, but is slow to import */
    for (int i = 0; i < MAX_WAITING; i++) waiting[i] = 0;
    atomic_flag_clear(&report_lock);
    forks = 0;
}

#endif
