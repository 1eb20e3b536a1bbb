/* Counts the instructions that a processor executes inside some functions of a program, and all that they call, by
 * single steps. Unlike Valgrind it counts SHA, AES and AVX-512 instructions as what they are: one each.
 *
 *   cc -O2 -o step step.c
 *   ./step ADDRESS[,ADDRESS...] PROGRAM ARGUMENT...
 *
 * The addresses are those of `nm PROGRAM`. The last line of standard error is the number of instructions. */
#define _GNU_SOURCE
#include <elf.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_FUNCTIONS = 16, BREAKPOINT = 0xcc };

static pid_t child;
static unsigned long address[MOST_FUNCTIONS];
static long original[MOST_FUNCTIONS];
static int functions;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* Waits until the program stops, and returns whether it did. */
static int stops(int *status) {
    if (waitpid(child, status, 0) < 0) fail("waitpid");
    return WIFSTOPPED(*status);
}

static unsigned long word_of_user(size_t offset) {
    return (unsigned long)ptrace(PTRACE_PEEKUSER, child, offset, 0);
}

static void set_breakpoints(int are_set) {
    for (int i = 0; i < functions; i++) {
        long word = are_set ? (original[i] & ~0xffL) | BREAKPOINT : original[i];
        if (ptrace(PTRACE_POKETEXT, child, address[i], word) < 0) fail("a breakpoint");
    }
}

/* Where the program is in memory: 0 if it is not position-independent. */
static unsigned long base_of(const char *program) {
    Elf64_Ehdr header;
    FILE *file = fopen(program, "r");
    if (!file || fread(&header, sizeof header, 1, file) != 1) fail(program);
    fclose(file);
    if (header.e_type == ET_EXEC) return 0;
    char path[64], line[8192], *real = realpath(program, NULL);
    snprintf(path, sizeof path, "/proc/%d/maps", child);
    FILE *maps = fopen(path, "r");
    if (!maps || !real) fail(path);
    while (fgets(line, sizeof line, maps))
        if (strstr(line, real)) return strtoul(line, NULL, 16);
    fprintf(stderr, "%s is not mapped\n", real);
    exit(1);
}

/* Steps until the function returns that has just been called, and counts the instructions. Returns 0 if the program
 * ended meanwhile. */
static unsigned long steps_to_return(int *status) {
    unsigned long stack = word_of_user(offsetof(struct user_regs_struct, rsp));
    unsigned long caller = (unsigned long)ptrace(PTRACE_PEEKTEXT, child, stack, 0);
    unsigned long at = word_of_user(offsetof(struct user_regs_struct, rip)), before = 0, count = 0;
    for (;;) {
        /* A repeated string instruction stops once for each repetition. */
        count += at != before;
        before = at;
        if (ptrace(PTRACE_SINGLESTEP, child, 0, 0) < 0) fail("a step");
        if (!stops(status)) return 0;
        at = word_of_user(offsetof(struct user_regs_struct, rip));
        if (at == caller && word_of_user(offsetof(struct user_regs_struct, rsp)) == stack + 8) return count;
    }
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: step ADDRESS[,ADDRESS...] PROGRAM ARGUMENT...\n");
        return 64;
    }
    for (char *text = strtok(argv[1], ","); text && functions < MOST_FUNCTIONS; text = strtok(NULL, ","))
        address[functions++] = strtoul(text, NULL, 16);
    child = fork();
    if (child == 0) {
        personality(ADDR_NO_RANDOMIZE);
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        execv(argv[2], argv + 2);
        _exit(127);
    }
    int status;
    if (child < 0 || !stops(&status)) fail(argv[2]);
    unsigned long base = base_of(argv[2]), total = 0;
    for (int i = 0; i < functions; i++) {
        address[i] += base;
        original[i] = ptrace(PTRACE_PEEKTEXT, child, address[i], 0);
    }
    set_breakpoints(1);
    ptrace(PTRACE_CONT, child, 0, 0);
    while (stops(&status)) {
        unsigned long at = word_of_user(offsetof(struct user_regs_struct, rip)) - 1;
        int is_called = 0;
        for (int i = 0; i < functions; i++) is_called |= WSTOPSIG(status) == SIGTRAP && address[i] == at;
        if (is_called) {
            set_breakpoints(0);
            ptrace(PTRACE_POKEUSER, child, offsetof(struct user_regs_struct, rip), at);
            unsigned long counted = steps_to_return(&status);
            if (counted == 0) break;
            total += counted;
            set_breakpoints(1);
        }
        int signal = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
        ptrace(PTRACE_CONT, child, 0, signal);
    }
    fprintf(stderr, "%lu\n", total);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
