#include <unistd.h>

/* What the containers run: nothing, in the shortest time; its status proves that it ran. With an argument it lives on. */
int main(int argc, char **argv)
{
	(void)argv;
	while (argc > 1)
		pause();
	return 7;
}
