CREATE TABLE `images` (
	`app_id` text NOT NULL,
	`hash` text NOT NULL,
	`content_type` text NOT NULL,
	`width` integer NOT NULL,
	`height` integer NOT NULL,
	`bytes` integer NOT NULL,
	`is_whole` integer NOT NULL,
	`begun_at` integer NOT NULL,
	`handed_url` text,
	`handed_until` integer,
	PRIMARY KEY(`app_id`, `hash`),
	FOREIGN KEY (`app_id`) REFERENCES `apps`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `images_partial` ON `images` (`begun_at`) WHERE "is_whole" = 0;--> statement-breakpoint
CREATE TABLE `parts` (
	`app_id` text NOT NULL,
	`hash` text NOT NULL,
	`part` integer NOT NULL,
	`data` blob NOT NULL,
	PRIMARY KEY(`app_id`, `hash`, `part`)
);
--> statement-breakpoint
CREATE TABLE `uploads` (
	`id` text PRIMARY KEY NOT NULL,
	`app_id` text NOT NULL,
	`space` text NOT NULL,
	`hash` text NOT NULL,
	`address` text NOT NULL,
	`created_at` integer NOT NULL,
	`expires_at` integer NOT NULL,
	FOREIGN KEY (`app_id`) REFERENCES `apps`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE UNIQUE INDEX `uploads_address_unique` ON `uploads` (`address`);--> statement-breakpoint
CREATE UNIQUE INDEX `uploads_by_space` ON `uploads` (`app_id`,`space`,`hash`);--> statement-breakpoint
CREATE INDEX `uploads_by_image` ON `uploads` (`app_id`,`hash`);--> statement-breakpoint
CREATE INDEX `uploads_by_end` ON `uploads` (`expires_at`);--> statement-breakpoint
ALTER TABLE `predictions` ADD `upload_id` text;--> statement-breakpoint
ALTER TABLE `predictions` ADD `handed_url` text;--> statement-breakpoint
CREATE INDEX `predictions_by_upload` ON `predictions` (`upload_id`) WHERE "upload_id" is not null;