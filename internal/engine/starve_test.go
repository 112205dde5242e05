package engine

const starvingEnv = "ENGINE_TEST_STARVES"

func starve() int { return 0 }
