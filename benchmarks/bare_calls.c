/* The lower bound for opening and closing a map: a loop of the system calls alone. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Returns the seconds that `number` rounds took, -1 if a call failed. */
double bare_calls(const char *path, long number) {
    struct timespec start, stop;
    struct stat info;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (long i = 0; i < number; i++) {
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0 || fstat(file, &info) != 0) return -1;
        void *address = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, file, 0);
        if (close(file) != 0 || address == MAP_FAILED || munmap(address, (size_t)info.st_size) != 0) return -1;
    }
    clock_gettime(CLOCK_MONOTONIC, &stop);
    return (double)(stop.tv_sec - start.tv_sec) + (double)(stop.tv_nsec - start.tv_nsec) * 1e-9;
}
