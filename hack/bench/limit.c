/*
 * limit [-c] BUNDLE: the lower limit. What the kernel alone needs for the minimal bundle (hack/bench/bundle): the same
 * namespaces, mounts, devices, masked paths, capabilities and execve, without a config, a state, checks or errors worth
 * reading. With -c it makes, joins and removes a cgroup in every hierarchy too.
 *
 * Not a runtime: it trusts its bundle and resolves paths as they come.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define CGROUPS "/sys/fs/cgroup"

static char *hierarchy[32]; /* "/sys/fs/cgroup/memory", … */
static int hierarchies;
static char own[32];        /* the name of our cgroup in each, or "" */

static void must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
		_exit(1);
	}
}

static const char *join(const char *a, const char *b, const char *c)
{
	static char path[4096];
	snprintf(path, sizeof path, "%s%s%s", a, b, c);
	return path;
}

static void attach(const char *type, const char *where, unsigned long flags, const char *data)
{
	must(mount(type, where, type, flags, data), where);
}

static void find_hierarchies(void)
{
	DIR *d = opendir(CGROUPS);
	struct dirent *e;

	must(d ? 0 : -1, CGROUPS);
	while ((e = readdir(d)) && hierarchies < 32)
		if (e->d_name[0] != '.')
			must(asprintf(&hierarchy[hierarchies++], CGROUPS "/%s", e->d_name), "asprintf");
	closedir(d);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	must(fd, path);
	must(write(fd, text, strlen(text)), path);
	close(fd);
}

static void make_cgroups(void)
{
	char pid[16], text[256];

	snprintf(own, sizeof own, "/limit-%d", getpid());
	snprintf(pid, sizeof pid, "%d", getpid());
	for (int i = 0; i < hierarchies; i++) {
		must(mkdir(join(hierarchy[i], own, ""), 0755), hierarchy[i]);
		if (strstr(hierarchy[i], "cpuset"))
			for (int k = 0; k < 2; k++) {
				const char *file = k ? "/cpuset.mems" : "/cpuset.cpus";
				int fd = open(join(hierarchy[i], file, ""), O_RDONLY | O_CLOEXEC);
				ssize_t n = read(fd, text, sizeof text - 1);
				must(n, file);
				text[n] = 0;
				close(fd);
				write_file(join(hierarchy[i], own, file), text);
			}
		write_file(join(hierarchy[i], own, "/cgroup.procs"), pid);
	}
}

static void remove_cgroups(void)
{
	for (int i = 0; i < hierarchies; i++) {
		write_file(join(hierarchy[i], "/cgroup.procs", ""), "0"); /* out of it ourselves */
		must(rmdir(join(hierarchy[i], own, "")), hierarchy[i]);
	}
}

static void make_devices(void)
{
	static const struct { const char *path; int major, minor; } node[] = {
		{ "dev/null", 1, 3 }, { "dev/zero", 1, 5 }, { "dev/full", 1, 7 },
		{ "dev/random", 1, 8 }, { "dev/urandom", 1, 9 }, { "dev/tty", 5, 0 } };
	static const char *const link[][2] = {
		{ "/proc/self/fd", "dev/fd" }, { "/proc/self/fd/0", "dev/stdin" }, { "/proc/self/fd/1", "dev/stdout" },
		{ "/proc/self/fd/2", "dev/stderr" }, { "pts/ptmx", "dev/ptmx" } };

	for (size_t i = 0; i < sizeof node / sizeof *node; i++) {
		must(mknod(node[i].path, S_IFCHR | 0666, makedev(node[i].major, node[i].minor)), node[i].path);
		must(chmod(node[i].path, 0666), node[i].path);
	}
	for (size_t i = 0; i < sizeof link / sizeof *link; i++)
		must(symlink(link[i][0], link[i][1]), link[i][1]);
}

static void mount_all(void)
{
	unsigned long quiet = MS_NOSUID | MS_NOEXEC | MS_NODEV;

	attach("proc", "proc", 0, NULL);
	attach("tmpfs", "dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
	must(mkdir("dev/pts", 0755), "dev/pts");
	attach("devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
	must(mkdir("dev/shm", 0755), "dev/shm");
	attach("tmpfs", "dev/shm", quiet, "mode=1777,size=65536k");
	must(mkdir("dev/mqueue", 0755), "dev/mqueue");
	attach("mqueue", "dev/mqueue", quiet, NULL);
	attach("sysfs", "sys", quiet | MS_RDONLY, NULL);
	attach("tmpfs", "sys/fs/cgroup", quiet, "mode=755");
	for (int i = 0; i < hierarchies; i++) {
		const char *inside = hierarchy[i] + 1;
		char from[4096];

		snprintf(from, sizeof from, "%s%s", hierarchy[i], own);
		must(mkdir(inside, 0755), inside);
		must(mount(from, inside, NULL, MS_BIND | MS_REC, NULL), inside);
		must(mount(NULL, inside, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | quiet, NULL), inside);
	}
	must(mount(NULL, "sys/fs/cgroup", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | quiet, NULL), "sys/fs/cgroup");
}

static void hide_paths(void)
{
	static const char *const readonly[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger" };
	static const char *const masked[] = { "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi" };
	struct stat st;

	for (size_t i = 0; i < sizeof readonly / sizeof *readonly; i++)
		if (mount(readonly[i], readonly[i], NULL, MS_BIND | MS_REC, NULL) == 0)
			must(mount(NULL, readonly[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), readonly[i]);
	for (size_t i = 0; i < sizeof masked / sizeof *masked; i++) {
		if (stat(masked[i], &st) < 0)
			continue;
		if (S_ISDIR(st.st_mode))
			attach("tmpfs", masked[i], MS_RDONLY, NULL);
		else
			must(mount("/dev/null", masked[i], NULL, MS_BIND, NULL), masked[i]);
	}
}

static void raise_loopback(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	must(s, "socket");
	must(ioctl(s, SIOCSIFFLAGS, &lo), "lo");
	close(s);
}

static void drop_privileges(void)
{
	unsigned keep = 1u << CAP_AUDIT_WRITE | 1u << CAP_KILL | 1u << CAP_NET_BIND_SERVICE;
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct caps[2] = { { keep, keep, 0 } };
	struct rlimit files = { 1024, 1024 };

	must(setrlimit(RLIMIT_NOFILE, &files), "RLIMIT_NOFILE");
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (cap >= 32 || !(keep >> cap & 1))
			must(prctl(PR_CAPBSET_DROP, cap), "PR_CAPBSET_DROP");
	must(syscall(SYS_setgroups, 0, NULL), "setgroups");
	must(syscall(SYS_setresgid, 0, 0, 0), "setresgid");
	must(syscall(SYS_setresuid, 0, 0, 0), "setresuid");
	must(syscall(SYS_capset, &head, caps), "capset");
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
}

static void become_container(const char *bundle)
{
	static char *const args[] = { "true", NULL };
	static char *const env[] = { "PATH=/bin", "TERM=xterm", NULL };

	must(setsid(), "setsid");
	must(sethostname("limit", 5), "sethostname");
	raise_loopback();
	must(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "/");
	must(chdir(bundle), bundle);
	must(mount("rootfs", "rootfs", NULL, MS_BIND | MS_REC, NULL), "rootfs");
	must(chdir("rootfs"), "rootfs");
	mount_all();
	make_devices();
	must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	must(umount2(".", MNT_DETACH), "umount2");
	must(chdir("/"), "/");
	hide_paths();
	must(mount(NULL, "/", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), "/");
	drop_privileges();
	must(syscall(SYS_close_range, 3, ~0u, 0), "close_range");
	must(execve("/bin/true", args, env), "/bin/true");
}

int main(int argc, char **argv)
{
	int cgroups = argc > 2 && !strcmp(argv[1], "-c"), status;
	unsigned long flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;

	if (argc != 2 + cgroups) {
		fprintf(stderr, "usage: limit [-c] BUNDLE\n");
		return 2;
	}
	find_hierarchies();
	if (cgroups)
		make_cgroups(); /* joined by ourselves, so that the child is born in them */
	long pid = syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
	must(pid, "clone");
	if (pid == 0)
		become_container(argv[1 + cgroups]);
	must(waitpid(pid, &status, 0), "waitpid");
	if (cgroups)
		remove_cgroups();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
