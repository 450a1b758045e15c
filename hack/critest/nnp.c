// Set-user-id root in its image: what it may become is what critest looks at.
#include <stdio.h>
#include <unistd.h>

int main(void) {
    printf("Effective uid: %d\n", geteuid());
    return 0;
}
