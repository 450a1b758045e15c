/*
 * stopwatch [=STATUS] COMMAND [ARGUMENT]... [-- [=STATUS] COMMAND [ARGUMENT]...]...
 *
 * Runs the commands one after the other and prints of each a line `NAME NANOSECONDS PEAK_KIB STATUS CPU_NANOSECONDS`: the
 * last is user and system time of the command and of those that it waited for. A command `wait` stands for: until no
 * process is left of what ran before; its status is that of the last one. Stops at the first whose status is not STATUS
 * (0 unless given).
 *
 * In C, small and static, because what starts a process is a part of what is measured: vfork from a Python process costs
 * more than some of the runtimes' own work, and the kernel counts the memory of the process that called vfork into the
 * peak of the child.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long nanoseconds(struct timeval t)
{
	return t.tv_sec * 1000000000LL + t.tv_usec * 1000LL;
}

static void die(const char *what)
{
	perror(what);
	exit(2);
}

int main(int argc, char **argv)
{
	posix_spawn_file_actions_t actions;
	int failed = 0;

	/* What a runtime leaves behind, the container's process, comes to us: its end and its peak are ours to see. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		die("prctl");
	/* A container that hangs must not hang the measurement. */
	alarm(30);
	if (posix_spawn_file_actions_init(&actions) ||
	    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0) ||
	    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0))
		die("posix_spawn_file_actions");

	for (int first = 1; first < argc && !failed;) {
		int next = first, status = 0, expected = 0;
		struct rusage usage;
		long peak = 0;
		long long cpu = 0;

		while (next < argc && strcmp(argv[next], "--"))
			next++;
		argv[next] = NULL; /* the separator, or the end, which is NULL already */

		if (argv[first] && argv[first][0] == '=')
			expected = atoi(argv[first++] + 1);

		long long begun = now();
		if (!strcmp(argv[first], "wait")) {
			pid_t pid;
			while ((pid = wait4(-1, &status, 0, &usage)) > 0 || errno == EINTR) {
				if (pid < 0)
					continue;
				if (usage.ru_maxrss > peak)
					peak = usage.ru_maxrss;
				cpu += nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime);
			}
		} else {
			pid_t pid;
			errno = posix_spawn(&pid, argv[first], &actions, NULL, &argv[first], environ);
			if (errno)
				die(argv[first]);
			while (wait4(pid, &status, 0, &usage) < 0)
				if (errno != EINTR)
					die("wait4");
			peak = usage.ru_maxrss;
			cpu = nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime);
		}
		long long spent = now() - begun;

		int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		printf("%s %lld %ld %d %lld\n", argv[first], spent, peak, code, cpu);
		failed = code != expected;
		first = next + 1;
	}
	return failed;
}
