defmodule AxonPort.Worker.Log do
  @moduledoc """
  The worker's `log` frames in Elixir's Logger, with their level.

  Metadata: `domain: [:axon_port]`, `logger` (Python's, or `stdout`, `stderr` for printed lines), `agent_id` and `ref`
  where the log belongs to a run, `fields` with structured extras, `worker` and its `os_pid`. A traceback follows the
  message, where people will look for it.
  """

  alias AxonPort.Request

  require Logger

  @levels %{
    "debug" => :debug,
    "info" => :info,
    "warning" => :warning,
    "error" => :error,
    "critical" => :critical
  }

  @doc "Logs a frame. `request` is the one that it belongs to."
  @spec forward(map, Request.t() | nil, keyword) :: :ok
  def forward(frame, request, metadata) do
    Logger.log(
      Map.get(@levels, frame["level"], :info),
      fn -> text(frame) end,
      metadata(frame, request, metadata)
    )
  end

  defp text(%{"traceback" => "" <> traceback} = frame), do: [frame["message"] || "", ?\n, traceback]
  defp text(frame), do: frame["message"] || ""

  defp metadata(frame, request, metadata) do
    of_run = if request, do: [agent_id: request.agent_id, ref: request.ref], else: []
    [domain: [:axon_port], logger: frame["logger"], fields: frame["fields"] || %{}] ++ of_run ++ metadata
  end
end
