// The first process of a sandbox: reaps what the pod leaves to it, and waits to be killed.
#include <signal.h>
#include <unistd.h>

int main(void) {
    struct sigaction leave_no_zombie = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
    sigaction(SIGCHLD, &leave_no_zombie, 0);
    for (;;)
        pause();
}
