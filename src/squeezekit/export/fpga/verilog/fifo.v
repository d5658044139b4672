// A queue of DEPTH words in memory and one that waits at the end.
module fifo #(
    parameter DATA = 8,
    parameter DEPTH = 2
) (
    input clock,
    input reset,
    input in_valid,
    output in_ready,
    input [DATA-1:0] in_data,
    output reg out_valid,
    input out_ready,
    output reg [DATA-1:0] out_data
);
    localparam A = DEPTH > 1 ? $clog2(DEPTH) : 1;
    (* no_rw_check *) reg [DATA-1:0] memory [0:DEPTH-1];
    reg [A-1:0] write_address, read_address;
    reg [A:0] held;
    assign in_ready = held != DEPTH;
    wire writes = in_valid && in_ready;
    wire reads = held != 0 && (!out_valid || out_ready);

    always @(posedge clock) begin
        if (writes) memory[write_address] <= in_data;
        if (reads) out_data <= memory[read_address];
    end

    always @(posedge clock)
        if (reset) begin
            write_address <= 0;
            read_address <= 0;
            held <= 0;
            out_valid <= 0;
        end else begin
            if (writes) write_address <= write_address == DEPTH - 1 ? 0 : write_address + 1'b1;
            if (reads) read_address <= read_address == DEPTH - 1 ? 0 : read_address + 1'b1;
            held <= held + writes - reads;
            if (reads) out_valid <= 1;
            else if (out_ready) out_valid <= 0;
        end
endmodule
