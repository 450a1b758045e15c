/* What the containers run: nothing, in the shortest time; its status proves that it ran. */
int main(void)
{
	return 7;
}
