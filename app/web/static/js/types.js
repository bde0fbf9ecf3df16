// Shapes of the API's answers (GET /openapi.json has all of them). Times are Unix seconds, durations seconds.

/**
 * @typedef {object} BatchRow
 * @property {string} batch_id
 * @property {"open" | "complete" | "partial" | "discarded"} status
 * @property {string | null} completed_by
 * @property {number} expected_count
 * @property {number} arrived_count
 * @property {number} failed_count
 * @property {number} empty_count
 * @property {number} opened_at
 * @property {number} deadline
 * @property {number | null} closed_at
 * @property {number} revision
 * @property {number} partition
 * @property {string} worker
 *
 * @typedef {{station_id: string, error: string}} StationError
 * @typedef {{expected: string[], arrived: string[], missing: string[], failed: StationError[], empty: string[]}} Lists
 * @typedef {BatchRow & Lists} BatchDetail
 *
 * @typedef {{batches: BatchRow[], next: string | null, incomplete?: string[]}} BatchList
 *
 * @typedef {{topic: string, partition: number, offset: number, timestamp: number | null}} SourcePlace
 *
 * @typedef {object} CourseEvent
 * @property {number} at
 * @property {string} event
 * @property {string | null} station_id
 * @property {string | null} status
 * @property {number | null} started_at
 * @property {string | null} by
 * @property {number | null} revision
 * @property {string | null} topic
 * @property {number | null} partition
 * @property {number | null} offset
 *
 * @typedef {{sources: SourcePlace[], events: CourseEvent[], incomplete: string[]}} Timeline
 *
 * @typedef {object} Output
 * @property {string} topic
 * @property {number} partition
 * @property {number} offset
 * @property {number} timestamp
 * @property {number} revision
 * @property {number} part
 * @property {number} parts
 * @property {Record<string, string>} headers
 * @property {unknown} value
 *
 * @typedef {object} Station
 * @property {string} station_id
 * @property {number} arrivals
 * @property {number} misses
 * @property {number} failures
 * @property {number} empties
 * @property {number | null} p50
 * @property {number | null} p99
 *
 * @typedef {object} StationOutcome
 * @property {string} batch_id
 * @property {number} closed_at
 * @property {string} status
 * @property {number | null} duration
 * @property {string | null} error
 *
 * @typedef {{outcomes: StationOutcome[], last_record: any, context: any, incomplete?: string[]}} StationMore
 * @typedef {Station & StationMore} StationDetail
 *
 * @typedef {{stations: Station[], next: string | null, incomplete?: string[]}} StationList
 *
 * @typedef {object} Stats
 * @property {number} open_batches
 * @property {number | null} oldest_open_age
 * @property {Record<string, number>} completed_by
 * @property {number} discarded
 * @property {number | null} late
 * @property {number | null} dead_letters
 * @property {number} throughput
 * @property {{p50: number | null, p99: number | null}} duration
 * @property {number | null} timeout
 * @property {string[]} [incomplete]
 *
 * @typedef {object} Sample
 * @property {number} at
 * @property {number | null} open_batches
 * @property {number | null} throughput
 * @property {number | null} duration_p50
 * @property {number | null} duration_p99
 * @property {number | null} lag
 * @property {number | null} internal_lag
 *
 * @typedef {object} Source
 * @property {string} topic
 * @property {number | null} lag
 * @property {number | null} last_message_at
 * @property {number | null} usual_gap
 * @property {boolean} overdue
 *
 * @typedef {{sources: Source[], internal_lag: number | null, incomplete?: string[]}} SourceList
 *
 * @typedef {{samples: Sample[], incomplete?: string[]}} History
 *
 * @typedef {{batch_id: string, closed_at: number, completed_by: string | null}} HeatmapBatch
 * @typedef {{station_id: string, cells: string}} HeatmapRow
 * @typedef {{batches: HeatmapBatch[], stations: HeatmapRow[], incomplete?: string[]}} Heatmap
 *
 * @typedef {object} Worker
 * @property {string} url
 * @property {number | number[]} partitions
 * @property {boolean} ready
 * @property {number | null} [clock_offset]
 * @property {string[]} [differs] keys of settings
 * @property {string | null} [version]
 * @property {number | null} [started_at]
 * @property {number | null} [open_batches]
 * @property {number | null} [running]
 * @property {number | null} [waiting]
 * @property {number | null} [loop_lag]
 * @property {number | null} [resident]
 *
 * @typedef {{access?: string, workers: Worker[], clocks_apart?: string[], incomplete?: string[]}} ClusterState
 *
 * @typedef {object} Letter
 * @property {string} id
 * @property {string} reason
 * @property {string} error
 * @property {number} failed_at
 * @property {string | null} batch_id
 * @property {string | null} station_id
 * @property {string | null} source_topic
 * @property {number | null} source_partition
 * @property {number | null} source_offset
 * @property {number | null} replayed_at
 *
 * @typedef {{written_at: number, key: string | null, key_base64: string | null, value: string | null}} LetterWhole
 * @typedef {{value_base64: string | null, value_bytes: number, value_cut: boolean}} LetterValue
 * @typedef {Letter & LetterWhole & LetterValue} LetterDetail
 *
 * @typedef {{letters: Letter[], next: string | null}} LetterList
 *
 * @typedef {{id: string, to: string | null, would: string, why: string | null}} Replay
 *
 * @typedef {object} Late
 * @property {string} batch_id
 * @property {string | null} station_id
 * @property {string | null} status
 * @property {string | null} reason
 * @property {number | null} revision
 * @property {number | null} closed_at
 * @property {number} timestamp
 *
 * @typedef {{late: Late[], next: string | null}} LateList
 *
 * @typedef {{settings: Record<string, any>, differences: Record<string, Record<string, any>>, incomplete?: string[]}} Settings
 *
 * @typedef {object} Partition
 * @property {string} topic
 * @property {number} partition
 * @property {string} worker
 * @property {number | null} committed
 * @property {number | null} end
 * @property {number | null} lag
 * @property {number | null} oldest_unacknowledged_at
 * @property {boolean} recovering
 *
 * @typedef {{partitions: Partition[], incomplete?: string[]}} PartitionList
 */

export {};
