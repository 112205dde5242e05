package connect

import "context"

// Plan is what Prepare found and what Run would do.
type Plan struct {
	Request  Request
	Problems []Problem
}

// Step is one thing that a run does.
type Step struct {
	ID      StepID
	What    string
	Why     string
	Already bool
	AWS     string
	HCL     string
}

// Prepare looks at both sides and changes neither.
func Prepare(ctx context.Context, cfg Config, req Request) (*Plan, error) { panic("not yet") }

// Steps returns the steps of a run.
func (p *Plan) Steps() []Step { panic("not yet") }

// AWS returns the whole as a shell script.
func (p *Plan) AWS() string { panic("not yet") }

// Terraform returns the whole as HCL.
func (p *Plan) Terraform() string { panic("not yet") }

// Run executes what is missing.
func Run(ctx context.Context, cfg Config, req Request, progress func(StepEvent)) (Result, error) {
	panic("not yet")
}

// Disconnect undoes Run.
func Disconnect(ctx context.Context, cfg Config, req Request, progress func(StepEvent)) (Result, error) {
	panic("not yet")
}
