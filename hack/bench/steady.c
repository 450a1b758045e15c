/*
 * steady: moves itself between the root and a cgroup of its own, 500 times a second, until its standard input ends.
 *
 * The kernel takes a lock against all forks to move a process to another cgroup, and the first to take it after a pause
 * waits for an RCU grace period: 8 to 28 ms on the machine this was written on, more than all else that a runtime does,
 * and gone when somebody else moved a process a moment before. So it hits by chance, and drowns what is compared. Here
 * somebody else always did.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT "/sys/fs/cgroup/freezer"
#define OWN ROOT "/steady"

int main(void)
{
	struct pollfd input = { 0, POLLIN, 0 };
	int fd[2], k = 0;

	if (mkdir(OWN, 0755) < 0 || (fd[0] = open(OWN "/cgroup.procs", O_WRONLY)) < 0 ||
	    (fd[1] = open(ROOT "/cgroup.procs", O_WRONLY)) < 0) {
		perror("steady: " OWN);
		return 1;
	}
	while (poll(&input, 1, 2) == 0)
		if (write(fd[k ^= 1], "0", 1) < 0) {
			perror("steady: cgroup.procs");
			return 1;
		}
	return 0;
}
