DROP INDEX `predictions_sought`;--> statement-breakpoint
CREATE INDEX `predictions_sought` ON `predictions` ("status" <> 'QUEUED',`due_at`) WHERE "submission" = 'unknown' and "following" is not null;