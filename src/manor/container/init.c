/* manor-init: process 1 of a container, and the launcher of a process put into one.
 *
 *     manor-init [OPTION]... -- EXECUTABLE ARGUMENT...
 *     manor-init [OPTION]... --pause
 *
 * Process 1 of a pid namespace is special: signals it has no handler for do not reach it, orphans become its children,
 * and when it ends the kernel kills all that is left. So a program that knows nothing of this is started below one that
 * does. This one starts the main process, passes on every signal it gets, reaps orphans, and ends with the status of
 * the main process: its exit code, or 128+N when signal N killed it.
 *
 * Theory of operation. All signals are blocked from the first line on and fetched one by one with sigwaitinfo: a
 * blocked signal is queued even for process 1, there are no handlers, and so nothing is ever interrupted. A program
 * inside can send signals to process 1, and they come back to the main process; that is the only thing it can do to
 * it. Nothing that the container can write is read. Everything that needs memory (the environment with room for the
 * pid) is set up before the main process is started; afterwards nothing is allocated and no descriptor but stdio is
 * open.
 *
 * Process groups and terminals. The main process always leads a process group of its own: a program that does
 * `kill(0, SIGTERM)` means itself and its children, and would otherwise reach process 1, which would send the signal
 * back, without end. If process 1 leads a session whose controlling terminal is stdin (a runtime does that for
 * `terminal: true`), the new group is made the terminal's foreground group: Ctrl-C and Ctrl-Z then reach the main
 * process directly and once, a shell finds job control in order, and Ctrl-Z really stops, because the parent is in the
 * same session and another group, so that the group is not orphaned. In every other case (no terminal, or one that
 * belongs to a session outside) no terminal is touched: taking the foreground there would stop whoever holds it.
 *
 * Options:
 *     --pid-env NAME      set variable NAME to the main process's pid as it sees it (may be repeated)
 *     --close FD          close FD in the main process (may be repeated)
 *     --non-block FD      set O_NONBLOCK on FD, which runc clears (may be repeated)
 *     --die-with-parent   the kernel kills this process when its parent ends
 *     --wait-all          end, with the main process's status, only when no process is left; signals go to all
 *     --pause             no main process: reap until killed; other processes are put in from outside
 *     --exec              be no init: do what the options say to this process and execute in place
 *     --user UID:GID[:GID]...
 *                         become this user and group, the further ones being the supplementary groups
 *     --user-namespace INSIDE:OUTSIDE
 *                         put the main process into one more user namespace, in which only user INSIDE is known, as
 *                         user OUTSIDE of the container; groups keep their numbers. The main process becomes that user
 *                         unless --user is given. Process 1 writes the maps, so it must be root in the container.
 *     --help              print how it is called, and exit 0
 *
 * Exit status of its own: 127 the executable was not found, 126 it could not be executed, 125 called wrongly or
 * something that must not fail did. One line on stderr says what.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436 /* the same on every architecture */
#endif

enum {
    EXIT_MISUSE = 125,
    EXIT_NOT_EXECUTABLE = 126,
    EXIT_NOT_FOUND = 127,

    LISTED_MAX = 1024,      /* of each repeatable option: the usual soft limit of descriptors */
    DECIMAL_MAX = 12,       /* a pid in decimal, with sign and closing zero */
    GROUPS_MAX = 64,        /* supplementary groups of --user */
    MAP_MAX = 4096,         /* bytes of an id map: the kernel reads one page at most */
    DESCRIPTORS_MAX = 65536 /* how many numbers to try on a kernel without close_range (before 5.9) */
};

struct options {
    const char *pid_env[LISTED_MAX];
    int pid_env_count;
    int close[LISTED_MAX];
    int close_count;
    int non_block[LISTED_MAX];
    int non_block_count;
    int die_with_parent, wait_all, pause, exec;
    int change_user, change_group, new_namespace;
    uid_t user, user_inside, user_outside;
    gid_t group, groups[GROUPS_MAX];
    int group_count;
    char **command;
};

/* The pid cannot be known before the fork, so each variable gets a buffer that the child fills in. */
struct pid_variable {
    char *text;   /* "NAME=" and room for the pid */
    char *number; /* where in it the pid goes */
};

static struct options options;
static struct pid_variable pid_variables[LISTED_MAX];
static char **environment;

static const char USAGE[] =
    "usage: manor-init [--pid-env NAME]... [--close FD]... [--non-block FD]... [--die-with-parent]\n"
    "                  [--user UID:GID[:GID]...] [--user-namespace INSIDE:OUTSIDE]\n"
    "                  [--wait-all | --exec] -- EXECUTABLE [ARGUMENT]...\n"
    "       manor-init [--die-with-parent] --pause\n";

/* ---- messages ------------------------------------------------------------------------------------------------- */

static void say(const char *what, const char *why)
{
    char line[PATH_MAX + 256];
    int length = snprintf(line, sizeof line, "manor-init: %s: %s\n", what, why);
    if (length >= (int)sizeof line) {
        length = sizeof line - 1;
        line[length - 1] = '\n';
    }
    if (write(STDERR_FILENO, line, (size_t)length) < 0) {
        return; /* nobody is left to be told */
    }
}

static void fail(const char *what)
{
    say(what, strerror(errno));
    _exit(EXIT_MISUSE);
}

static void misused(const char *what, const char *why)
{
    say(what, why);
    _exit(EXIT_MISUSE);
}

/* ---- the command line ----------------------------------------------------------------------------------------- */

static int parse_descriptor(const char *option, const char *text)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (errno || end == text || *end || number < 0 || number > INT_MAX) {
        misused(option, "wants the number of a descriptor");
    }
    return (int)number;
}

/* Numbers between colons, as many as there are; misuse if there are fewer than two or more than room. */
static int parse_ids(const char *option, const char *text, unsigned int *ids, int room)
{
    for (int count = 0; count < room;) {
        char *end;
        errno = 0;
        unsigned long number = strtoul(text, &end, 10);
        if (errno || end == text || *text < '0' || *text > '9' || number >= UINT_MAX || (*end && *end != ':')) {
            break;
        }
        ids[count++] = (unsigned int)number;
        if (!*end) {
            return count >= 2 ? count : (misused(option, "wants ids with a colon between them"), 0);
        }
        text = end + 1;
    }
    misused(option, "wants ids with a colon between them");
    return 0;
}

static void parse_user(const char *option, const char *text)
{
    unsigned int ids[GROUPS_MAX + 2];
    int count = parse_ids(option, text, ids, GROUPS_MAX + 2);
    options.change_user = options.change_group = 1;
    options.user = ids[0];
    options.group = ids[1];
    options.group_count = count - 2;
    memcpy(options.groups, ids + 2, (size_t)options.group_count * sizeof *ids);
}

static void parse_namespace(const char *option, const char *text)
{
    unsigned int ids[2];
    parse_ids(option, text, ids, 2);
    options.new_namespace = 1;
    options.user_inside = ids[0];
    options.user_outside = ids[1];
}

static const char *value_of(char ***word)
{
    const char *option = **word;
    if (!(*word)[1]) {
        misused(option, "wants a value");
    }
    *word += 1;
    return **word;
}

static void check_room(const char *option, int count)
{
    if (count >= LISTED_MAX) {
        misused(option, "given too often");
    }
}

static void parse_options(char **word)
{
    for (word++; *word && strcmp(*word, "--") != 0; word++) {
        const char *option = *word;
        if (!strcmp(option, "--pid-env")) {
            check_room(option, options.pid_env_count);
            const char *name = value_of(&word);
            if (!*name || strchr(name, '=')) {
                misused(option, "wants the name of a variable");
            }
            options.pid_env[options.pid_env_count++] = name;
        } else if (!strcmp(option, "--close")) {
            check_room(option, options.close_count);
            options.close[options.close_count++] = parse_descriptor(option, value_of(&word));
        } else if (!strcmp(option, "--non-block")) {
            check_room(option, options.non_block_count);
            options.non_block[options.non_block_count++] = parse_descriptor(option, value_of(&word));
        } else if (!strcmp(option, "--user")) {
            parse_user(option, value_of(&word));
        } else if (!strcmp(option, "--user-namespace")) {
            parse_namespace(option, value_of(&word));
        } else if (!strcmp(option, "--die-with-parent")) {
            options.die_with_parent = 1;
        } else if (!strcmp(option, "--wait-all")) {
            options.wait_all = 1;
        } else if (!strcmp(option, "--pause")) {
            options.pause = 1;
        } else if (!strcmp(option, "--exec")) {
            options.exec = 1;
        } else if (!strcmp(option, "--help")) {
            _exit(write(STDOUT_FILENO, USAGE, sizeof USAGE - 1) < 0);
        } else {
            misused(option, "unknown option; --help shows them");
        }
    }
    options.command = *word ? word + 1 : word;
    if (options.pause) {
        if (*options.command || options.exec || options.wait_all) {
            misused("--pause", "goes with neither an executable nor --exec nor --wait-all");
        }
    } else if (!*options.command) {
        misused("--", "wants an executable after it");
    } else if (options.exec && options.wait_all) {
        misused("--exec", "does not go with --wait-all");
    } else if (options.exec && options.new_namespace) {
        misused("--exec", "does not go with --user-namespace");
    } else if (!options.exec && getpid() != 1) {
        misused("not process 1 of a pid namespace", "use --exec to execute in place");
    }
    if (options.new_namespace && !options.change_user) {
        options.user = options.user_inside;
        options.change_user = 1;
    }
}

/* ---- the environment of the main process ---------------------------------------------------------------------- */

static int is_pid_variable(const char *entry)
{
    for (int i = 0; i < options.pid_env_count; i++) {
        size_t length = strlen(options.pid_env[i]);
        if (!strncmp(entry, options.pid_env[i], length) && entry[length] == '=') {
            return 1;
        }
    }
    return 0;
}

static void prepare_environment(void)
{
    size_t count = 0;
    while (environ[count]) {
        count++;
    }
    environment = calloc(count + (size_t)options.pid_env_count + 1, sizeof *environment);
    if (!environment) {
        fail("environment");
    }
    char **next = environment;
    for (char **entry = environ; *entry; entry++) {
        if (!is_pid_variable(*entry)) {
            *next++ = *entry;
        }
    }
    for (int i = 0; i < options.pid_env_count; i++) {
        size_t length = strlen(options.pid_env[i]);
        char *text = malloc(length + 1 + DECIMAL_MAX);
        if (!text) {
            fail("environment");
        }
        memcpy(text, options.pid_env[i], length);
        text[length] = '=';
        pid_variables[i] = (struct pid_variable){.text = text, .number = text + length + 1};
        *next++ = text;
    }
}

static void fill_in_pid(void)
{
    for (int i = 0; i < options.pid_env_count; i++) {
        snprintf(pid_variables[i].number, DECIMAL_MAX, "%d", (int)getpid());
    }
}

/* ---- who the main process is ---------------------------------------------------------------------------------- */

/* The child makes the namespace, and only its parent may write the maps: `unshared` tells the parent that there is one,
 * `mapped` tells the child that it has its maps. */
struct handshake {
    int unshared[2], mapped[2];
};

static void tell(int fd)
{
    if (write(fd, "", 1) != 1) {
        fail("user namespace");
    }
}

/* Returns 0 when the other side has ended without telling. */
static int is_told(int fd)
{
    char byte;
    return read(fd, &byte, 1) == 1;
}

static void write_map(pid_t child, const char *name, const char *text, size_t length)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)child, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, length) != (ssize_t)length) {
        fail(path);
    }
    close(fd);
}

/* The container's own map of groups with each range mapped to itself. The kernel makes up this file, and nothing of
 * the container has run yet that could have put another in its place. */
static size_t identity_of_groups(char *text)
{
    FILE *file = fopen("/proc/self/gid_map", "re");
    if (!file) {
        fail("/proc/self/gid_map");
    }
    unsigned long first, outside, count;
    size_t length = 0;
    while (fscanf(file, "%lu %lu %lu", &first, &outside, &count) == 3 && length < MAP_MAX - 64) {
        length += (size_t)snprintf(text + length, MAP_MAX - length, "%lu %lu %lu\n", first, first, count);
    }
    fclose(file);
    return length;
}

static void give_maps(pid_t child, struct handshake *with)
{
    close(with->unshared[1]);
    close(with->mapped[0]);
    if (is_told(with->unshared[0])) {
        char text[MAP_MAX];
        write_map(child, "gid_map", text, identity_of_groups(text));
        int length = snprintf(text, sizeof text, "%u %u 1\n", options.user_inside, options.user_outside);
        write_map(child, "uid_map", text, (size_t)length);
        tell(with->mapped[1]);
    } /* else the child has ended, after having said why */
}

static void enter_namespace(struct handshake *with)
{
    close(with->unshared[0]);
    close(with->mapped[1]);
    if (unshare(CLONE_NEWUSER) < 0) {
        fail("user namespace");
    }
    tell(with->unshared[1]);
    if (!is_told(with->mapped[0])) {
        _exit(EXIT_MISUSE); /* process 1 has said why */
    }
}

static void become_user(void)
{
    if (options.change_group &&
        (setgroups((size_t)options.group_count, options.groups) < 0 ||
         setresgid(options.group, options.group, options.group) < 0)) {
        fail("group");
    }
    if (options.change_user && setresuid(options.user, options.user, options.user) < 0) {
        fail("user");
    }
}

/* ---- the main process ----------------------------------------------------------------------------------------- */

static void reset_signals(void)
{
    /* An ignored signal stays ignored over exec: Python for one ignores SIGPIPE, and its children would inherit that. */
    struct sigaction standard = {.sa_handler = SIG_DFL};
    for (int number = 1; number <= SIGRTMAX; number++) {
        sigaction(number, &standard, NULL); /* fails for KILL, STOP and the two that the C library keeps */
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void arrange_descriptors(void)
{
    for (int i = 0; i < options.non_block_count; i++) {
        int flags = fcntl(options.non_block[i], F_GETFL);
        if (flags < 0 || fcntl(options.non_block[i], F_SETFL, flags | O_NONBLOCK) < 0) {
            fail("--non-block");
        }
    }
    for (int i = 0; i < options.close_count; i++) {
        close(options.close[i]); /* one that is not open is as good as closed */
    }
}

/* Try PATH/NAME for each directory of PATH. Returns with errno set, EACCES if any was there but not executable. */
static void execute_from_path(char **command)
{
    const char *directory = getenv("PATH");
    int seen_unusable = 0;
    errno = ENOENT;
    while (directory && *directory) {
        const char *end = strchrnul(directory, ':');
        char file[PATH_MAX];
        int length = snprintf(file, sizeof file, "%.*s/%s", (int)(end - directory), directory, command[0]);
        if (end > directory && length < (int)sizeof file) { /* an empty entry would mean the working directory */
            execve(file, command, environment);
            if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) {
                return;
            }
            seen_unusable |= errno == EACCES;
        }
        directory = *end ? end + 1 : end;
    }
    errno = seen_unusable ? EACCES : ENOENT;
}

static void execute(char **command)
{
    fill_in_pid();
    arrange_descriptors();
    become_user();
    reset_signals();
    if (strchr(command[0], '/')) {
        execve(command[0], command, environment);
    } else {
        execute_from_path(command);
    }
    int reason = errno;
    say(command[0], strerror(reason));
    _exit(reason == ENOENT || reason == ENOTDIR ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

static pid_t start_main(void)
{
    /* getsid is ours and the terminal's foreground group is ours: it is our terminal. tcgetpgrp fails for any other. */
    int own_terminal = getsid(0) == getpid() && tcgetpgrp(STDIN_FILENO) == getpgrp();
    struct handshake handshake;
    if (options.new_namespace && (pipe2(handshake.unshared, O_CLOEXEC) < 0 || pipe2(handshake.mapped, O_CLOEXEC) < 0)) {
        fail("pipe");
    }
    pid_t child = fork();
    if (child < 0) {
        fail("fork");
    }
    if (child == 0) {
        if (setpgid(0, 0) < 0) {
            fail("setpgid");
        }
        if (own_terminal) {
            tcsetpgrp(STDIN_FILENO, getpid()); /* SIGTTOU, sent to whom does this from behind, is still blocked */
        }
        if (options.new_namespace) {
            enter_namespace(&handshake);
        }
        execute(options.command);
    }
    if (options.new_namespace) {
        give_maps(child, &handshake);
    }
    setpgid(child, child); /* whoever of the two comes first; after the child's exec it fails, and is not needed */
    return child;
}

/* ---- process 1 ------------------------------------------------------------------------------------------------ */

static void close_descriptors(void)
{
    if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0) == 0) {
        return;
    }
    struct rlimit limit = {.rlim_cur = DESCRIPTORS_MAX};
    getrlimit(RLIMIT_NOFILE, &limit);
    int end = limit.rlim_cur < DESCRIPTORS_MAX ? (int)limit.rlim_cur : DESCRIPTORS_MAX;
    for (int fd = STDERR_FILENO + 1; fd < end; fd++) {
        close(fd);
    }
}

/* Reap all that have ended. Returns 1 when it is time to end. */
static int reap(pid_t *main_process, int *status)
{
    for (;;) {
        int ended_how;
        pid_t ended = waitpid(-1, &ended_how, WNOHANG);
        if (ended < 0 && errno == ECHILD) {
            return options.wait_all && *main_process == 0;
        }
        if (ended <= 0) {
            return 0;
        }
        if (ended == *main_process) {
            *main_process = 0;
            *status = WIFSIGNALED(ended_how) ? 128 + WTERMSIG(ended_how) : WEXITSTATUS(ended_how);
            if (!options.wait_all) {
                return 1;
            }
        }
    }
}

static void pass_on(int number, pid_t main_process)
{
    if (options.wait_all) {
        kill(-1, number); /* from process 1: everybody in the namespace but itself */
    } else if (main_process > 0) {
        kill(main_process, number);
    }
}

int main(int argc, char **argv)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    if (argc < 1) {
        _exit(EXIT_MISUSE);
    }
    parse_options(argv);
    prctl(PR_SET_NAME, "manor-init", 0, 0, 0);
    if (options.die_with_parent) {
        /* A parent that ended before this line sends nothing. Where it can be seen (a parent outside of the pid
         * namespace always has the number 0), its death shows as a change of the number. */
        pid_t parent = getppid();
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) {
            fail("--die-with-parent");
        }
        if (getppid() != parent) {
            _exit(EXIT_MISUSE);
        }
    }
    prepare_environment();
    if (options.exec) {
        execute(options.command);
    }
    pid_t main_process = options.pause ? 0 : start_main();
    close_descriptors();
    for (int status = 0;;) {
        siginfo_t info;
        int number = sigwaitinfo(&all, &info);
        if (number == SIGCHLD) {
            /* Several deaths may arrive as one signal, so everything is reaped; pause mode ends by KILL only. */
            if (reap(&main_process, &status) && !options.pause) {
                return status;
            }
        } else if (number > 0) {
            pass_on(number, main_process);
        }
    }
}
