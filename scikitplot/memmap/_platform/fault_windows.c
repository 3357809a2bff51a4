/* fault_windows.c - fault.h on Windows, which refuses to cut a file that is mapped: nothing is guarded.
 *
 * What remains is a network drive or a removable medium that fails, which raises EXCEPTION_IN_PAGE_ERROR.
 */
#include "fault.h"

struct fault_guard {
    int unused;
};

static fault_guard only;
static const fault_word undamaged;

int fault_install(void (*notify)(fault_guard *))
{
    (void)notify;
    return 0;
}

int fault_uninstall(void) { return 0; }

int fault_watch(void *address, size_t size, region_file file, const char *path, const region_info *info,
                region_intent intent, uint64_t offset, fault_guard **guard)
{
    (void)address, (void)size, (void)file, (void)path, (void)info, (void)intent, (void)offset;
    *guard = &only;
    return 0;
}

void fault_unwatch(fault_guard *guard) { (void)guard; }

const fault_word *fault_damage(const fault_guard *guard)
{
    (void)guard;
    return &undamaged;
}

void fault_describe(fault_guard *guard, fault_report *report)
{
    (void)guard;
    *report = (fault_report){0};
}

int fault_recover(fault_guard *guard, region_file file)
{
    (void)guard, (void)file;
    return 0;
}
